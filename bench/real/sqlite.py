#!/usr/bin/env python3
"""The sqlite3 shell on a database in memory: tables are filled, indexed, joined, updated and thinned
out; then the database is closed, which frees it all."""
import shutil
import subprocess
import sys
import time

import common

ROWS = 60000  # at scale 1
WORK = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, kind INTEGER, price REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i * 31 % 97, i * 17 % 1009 / 7.0,
         substr('a note of some length, of which each row keeps another part', 1, i % 60) FROM n;
CREATE INDEX by_name ON item (name);
CREATE INDEX by_kind ON item (kind, price);
CREATE TABLE sale (item INTEGER, day INTEGER, count INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO sale SELECT 1 + i * 104729 % {rows}, i * 13 % 365, 1 + i % 9 FROM n;
CREATE INDEX by_item ON sale (item);
SELECT kind, count(*), sum(price * count) FROM item JOIN sale ON sale.item = item.id GROUP BY kind
  ORDER BY 3;
SELECT day, group_concat(name) FROM (SELECT day, name FROM sale JOIN item ON item.id = sale.item
  WHERE kind < 9 ORDER BY name) GROUP BY day;
UPDATE item SET note = note || ' (sold)' WHERE id IN (SELECT item FROM sale WHERE count > 6);
DELETE FROM sale WHERE day % 3 = 0;
SELECT name, count(*) FROM item GROUP BY substr(name, 1, 8) HAVING count(*) > 1 ORDER BY 2, 1;
SELECT json_group_array(json_object('id', id, 'name', name, 'note', note)) FROM item WHERE kind < 40;
"""


def until(process, marker):
    for line in process.stdout:
        if line.strip() == marker:
            return
    sys.exit('sqlite3 ended with %d' % process.wait())


def main():
    options = common.arguments()
    rows = max(100, int(ROWS * options.scale))
    program = shutil.which('sqlite3')
    watch = common.Stopwatch()
    process = subprocess.Popen([program, '-batch', '-bail', ':memory:'], env=common.environment(program),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdin.write(WORK.format(rows=rows) + '.print worked\n')
    process.stdin.flush()
    until(process, 'worked')
    wall = watch.ms()
    held, peak = common.status_kib(process.pid, 'Rss'), common.status_kib(process.pid, 'VmHWM')
    freed = 0
    process.stdin.write('.open :memory:\n.print closed\n')
    process.stdin.flush()
    until(process, 'closed')
    if options.rest:
        time.sleep(1)
        freed = common.status_kib(process.pid, 'Rss')
    process.stdin.close()
    usage = common.wait(process)
    if process.returncode != 0:
        sys.exit('sqlite3 ended with %d' % process.returncode)
    common.print_line(common.cpu_ms(usage), wall, peak, held, freed, rows)


main()
