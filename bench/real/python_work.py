"""The work of python.py, run by the measured interpreter: python_work.py SCALE REST. Prints peak, held
and freed KiB, and the number of records."""
import json
import random
import re
import sys
import time


def kib(key):
    name = 'smaps_rollup' if key == 'Rss' else 'status'
    with open('/proc/self/' + name, encoding='ascii') as lines:
        for line in lines:
            if line.startswith(key + ':'):
                return int(line.split()[1])
    return 0


def records(count):
    rng = random.Random(1)
    words = [''.join(rng.choice('abcdefghijklmnop') for _ in range(rng.randint(2, 12))) for _ in range(500)]
    for i in range(count):
        yield {'id': i, 'name': rng.choice(words), 'tags': rng.sample(words, 3),
               'text': ' '.join(rng.choices(words, k=rng.randint(3, 30))),
               'price': rng.random() * 1000, 'stock': {w: rng.randint(0, 99) for w in words[:4]}}


def work(count):
    lines = [json.dumps(record) for record in records(count)]
    table = [json.loads(line) for line in lines]
    index = {}
    for record in table:
        for word in re.findall(r'[a-z]+', record['text']):
            index.setdefault(word, []).append(record['id'])
    table.sort(key=lambda record: (record['name'], record['price']))
    groups = {}
    for record in table:
        groups.setdefault(record['name'], []).append((record['price'], tuple(record['tags'])))
    report = '\n'.join('%s: %d, %.2f' % (name, len(rows), sum(p for p, _ in rows))
                       for name, rows in sorted(groups.items()))
    table = [dict(record, text=record['text'].upper()) for record in table]
    return lines, table, index, groups, report


def main():
    count = max(10, int(18000 * float(sys.argv[1])))
    result = work(count)
    held, freed = kib('Rss'), 0
    del result
    peak = kib('VmHWM')
    if sys.argv[2] == '1':
        time.sleep(1)
        freed = kib('Rss')
    print(peak, held, freed, count)


main()
