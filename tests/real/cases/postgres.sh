# postgres as an unprivileged user on a unix socket: initdb, pgbench, parallel queries, just-in-time
# compilation, procedures, extensions, a crash of one backend with recovery, dump and restore, stop.
# set: full
# needs: psql
# witness: initdb postmaster checkpointer backend psql pgbench
# limit: 240
# shellcheck shell=bash

bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
export PATH=$bin:$PATH PGHOST=$PWD/socket PGDATABASE=postgres PGUSER=owner PGTZ=UTC
unset PGOPTIONS
as=()
if [[ $(id -u) -eq 0 ]]; then
    # It refuses root. setpriv keeps the environment, and with it the library.
    as=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
fi
umask 0
mkdir -p socket base
chmod 777 . tmp
umask 022

postmaster=
stop_all() {
    [[ -z $postmaster ]] || kill -9 "$postmaster" $(pgrep -P "$postmaster") 2>/dev/null || true
    tail -n 20 log >&2
}
trap '[[ -z $postmaster ]] || stop_all' EXIT

start() {
    "${as[@]}" postgres -D base/data -k "$PWD/socket" -c listen_addresses= -c fsync=off \
        -c max_connections=40 -c shared_buffers=32MB -c max_parallel_workers_per_gather=2 \
        -c min_parallel_table_scan_size=0 -c parallel_setup_cost=0 -c dynamic_shared_memory_type=mmap \
        >log 2>&1 &
    postmaster=$!
    wait_for pg_isready -q
}

sql() {
    psql -X -q -v ON_ERROR_STOP=1 "$@"
}

"${as[@]}" initdb -D base/data -U owner -A trust -E UTF8 --locale=C --no-sync |
    grep -vE 'pg_ctl|^$|selecting (default (max|shared|time)|dynamic)'
mkdir other && chmod 777 other
# In a process of its own, since the loader goes on with the record of setpriv, which was root.
canary initdb postgres -- "${as[@]}" bash -c 'initdb -D other/data -A trust --locale=C --no-sync; :' >/dev/null
start
mapped postmaster "$postmaster"
mapped checkpointer "$(pgrep -P "$postmaster" -f checkpointer)"
sql -At -c "select pg_read_file('/proc/self/maps', 0, 10000000)" >tmp/maps
mapped_text backend tmp/maps
canary psql pgbench -- bash -c 'psql -X -c "" && pgbench --version >/dev/null'

pgbench -i -q -s "$(scale 1 3)" 2>/dev/null
pgbench -n -c 6 -j 3 -t 150 2>/dev/null | grep -E 'transactions (actually|type)|failed'
pgbench -n -c 4 -j 2 -t 200 -S -M prepared 2>/dev/null | grep -E 'actually|failed'
sql -At -c 'select count(*), sum(tbalance) = sum(bbalance) from (select sum(tbalance) tbalance from pgbench_tellers) t,
    (select sum(bbalance) bbalance from pgbench_branches) b'
sql -At -c "select count(*) from pgbench_history"

cat >ask.sql <<'SQL'
set jit = off;
create table t as select i, md5(i::text) m, (i * 7919) % 10007 k, repeat('x', i % 300) r from generate_series(1, 60000) i;
create index on t(k);
create index on t using gin (to_tsvector('simple', m));
create index on t using hash (m);
analyze t;
select count(*), sum(k), min(m), max(m), sum(length(r)) from t;
select k % 10 d, count(*), avg(i)::numeric(12, 3), string_agg(left(m, 2), '' order by i) filter (where i < 100) from t group by d order by d;
select a.k, count(*) from t a join t b using (k) group by a.k order by 2 desc, 1 limit 5;
set work_mem = '64kB';
select i, m from t order by r, m desc offset 30000 limit 3;
select count(distinct m) from t;
set work_mem = '200MB';
select md5(array_agg(m order by m)::text) from t;
select i, lag(k) over w, sum(k) over w, ntile(7) over w from t window w as (partition by k % 3 order by i) order by i limit 5;
with recursive f(n, a, b) as (values (1, 0::numeric, 1::numeric) union all select n + 1, b, a + b from f where n < 500) select length(max(a)::text), md5(max(a)::text) from f;
select jsonb_object_agg(i::text, jsonb_build_object('m', m, 'k', array[k, i])) -> '777' from t where i < 2000;
select count(*) from t where to_tsvector('simple', m) @@ to_tsquery('simple', md5('5') || ' | ' || md5('55'));
select regexp_replace(m, '([a-f])(\d+)', '<\2\1>', 'g') from t where i = 9;
select sum(length(xmlelement(name e, xmlattributes(k as k), m)::text)) from t where i < 3000;
create function walk(n int) returns text language plpgsql as $$
declare s text := ''; r record; a int[] := '{}';
begin
    for r in select * from t where i <= n order by i loop
        s := s || left(r.m, 1); a := a || r.k;
        begin
            if r.i % 100 = 0 then raise exception 'at %', r.i; end if;
        exception when others then s := s || '!';
        end;
    end loop;
    return md5(s) || array_length(a, 1) || md5(a::text);
end $$;
select walk(3000);
do $$ begin for i in 1..200 loop execute format('create temp table x%s as select * from t limit %s', i, i); end loop; end $$;
explain (costs off) select count(*) from t where length(r) > 100;
update t set r = r || m where k % 5 = 0;
delete from t where k % 7 = 0;
vacuum full t;
select count(*), sum(length(r)) from t;
copy (select * from t order by i limit 20000) to stdout \g copied
create table u (like t);
\copy u from copied
select count(*), sum(hashtext(u::text)::bigint) from u;
select 1 / (select 0);
SQL
status sql -At -f ask.sql 2>&1
# With LLVM, where the package brought it.
sql -At -c 'set jit_above_cost = 0' -c 'set jit_inline_above_cost = 0' -c 'set jit_optimize_above_cost = 0' -c 'set jit = on' \
    -c 'select sum(k * 3 + i % 7), count(*) filter (where r like $$%xx%$$), max(length(m || r)) from t where k % 3 <> 1' \
    -c 'select a.k, sum(a.i + b.i) from t a join t b on a.k = b.k where a.i < 3000 group by a.k order by 2 desc, 1 limit 3' \
    -c "select bool_or(pg_jit_available()) is not null"
for language in plperl plpython3u; do
    sql -c "create extension $language" 2>/dev/null && echo "$language"
done
sql -c 'create extension pgcrypto' 2>/dev/null && sql -At -c "select encode(digest(m, 'sha256'), 'hex') from t order by i limit 1"
status sql -c 'select * from absent'
status sql -c "select repeat('x', 2000000000)"
pg_dump --no-sync -t t -t u postgres | grep -vE '^(--|\\(un)?restrict)' | sha256sum
createdb again
pg_dump --no-sync postgres | psql -X -q -d again >/dev/null
sql -d again -At -c 'select count(*), sum(hashtext(t::text)::bigint) from t'

# A backend that is killed takes the others along, and the server recovers.
(sql -c 'select pg_sleep(60)' >/dev/null 2>&1 || true) &
sleeper=$!
wait_for eval "psql -X -At -c \"select pid from pg_stat_activity where query like 'select pg_sleep%'\" | grep -x '[0-9]*' >tmp/victim"
kill -9 "$(cat tmp/victim)"
wait "$sleeper"
wait_for psql -X -q -c ''
sql -At -c 'select count(*) from t'
grep -c 'terminated by signal 9' log
kill -HUP "$postmaster"
kill -INT "$postmaster"
status wait "$postmaster"
postmaster=
grep -oE 'database system is shut down' log | tail -n 1
