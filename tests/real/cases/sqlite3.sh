# sqlite3: a table of 100,000 rows with indexes, joins, window functions, triggers, dump and errors.
# set: core
# needs: sqlite3
# witness: sqlite3
# limit: 90
# shellcheck shell=bash disable=SC2016

rows=$(scale 100000 300000)
cat >make.sql <<SQL
pragma journal_mode = wal;
pragma cache_size = 500;
create table t(id integer primary key, a integer, b text, c real, d blob);
with recursive n(i, x) as (select 1, 42 union all
    select i + 1, (x * 1103515245 + 12345) % 2147483648 from n where i < $rows)
insert into t select i, x % 5000, printf('word %d of %x', x % 977, x), x / 7.0,
    cast(printf('%.*c', x % 90, 'z') as blob) from n;
create index by_a on t(a, b);
create index by_b on t(b) where length(d) > 40;
create table log(id integer, what text);
create trigger gone after delete on t begin insert into log values (old.id, 'gone ' || old.b); end;
analyze;
SQL
status sqlite3 base.db <make.sql
sqlite3 base.db '.shell cat /proc/$PPID/maps >tmp/maps' 'select 1'
mapped_text sqlite3 tmp/maps
cat >ask.sql <<'SQL'
.headers on
.mode column
select count(*), sum(a), min(b), max(b), round(sum(c), 3), sum(length(d)) from t;
select a, count(*) n, round(avg(c), 4) m from t group by a order by n desc, a limit 8;
.mode csv
select x.a, count(*), max(y.b) from t x join t y on y.a = x.a and y.id < x.id
    where x.a between 100 and 130 group by x.a;
select b, row_number() over w, round(sum(c) over w, 2), lag(b, 2) over w from t where a = 77
    window w as (order by b, id) limit 12;
.mode json
select json_group_array(json_object('a', a, 'b', b)) from (select a, b from t order by c desc limit 20);
.mode list
explain query plan select * from t where a = 5 and b > 'word 5' order by b;
select count(*) from t where b like '%7%of%f' or d glob '*zzz';
select group_concat(b, ';') from (select distinct b from t order by b desc limit 300);
begin;
delete from t where a % 3 = 1;
select count(*), min(what), max(what) from log;
savepoint s;
update t set b = upper(b) || b || b, d = zeroblob(3000) where id % 50 = 0;
select sum(length(b)), sum(length(d)) from t;
rollback to s;
commit;
select count(*), sum(length(b)) from t;
create virtual table f using fts5(body);
insert into f select b || ' ' || what from t join log on log.id = t.id + 1 limit 5000;
select snippet(f, 0, '[', ']', '.', 5) from f where f match 'gone AND word' order by rank, rowid limit 3;
vacuum;
pragma integrity_check;
SQL
sqlite3 base.db <ask.sql
sqlite3 base.db .dump | sha256sum
sqlite3 base.db '.backup copy.db'
sqlite3 base.db .dump | sqlite3 -cmd 'pragma synchronous = off' again.db
sqlite3 again.db 'attach "copy.db" as o; select count(*) from (select * from t except select * from o.t)'
sqlite3 base.db '.mode csv' 'select * from t order by id limit 20000' >t.csv
sqlite3 :memory: 'create table u(id, a, b, c, d)' '.mode csv' '.import t.csv u' 'select count(*), sum(a) from u'
status sqlite3 base.db 'select * from absent'
status sqlite3 base.db 'insert into t(id) values (2)' 'select length(randomblob(2000000000))'
head -c 3000 /dev/zero >broken.db
status sqlite3 broken.db 'select 1 from sqlite_master'
