# redis-server on a unix socket: every type, Lua, big values, lazy frees, io threads, the forks of
# BGSAVE and BGREWRITEAOF, SAVE, SHUTDOWN, and the data as it comes back from both files.
# set: core
# needs: redis-cli redis-benchmark redis-check-rdb
# witness: redis-server redis-cli redis-benchmark loaded-again
# limit: 120
# shellcheck shell=bash

server=
# Words of its log are for a person who looks into a failure.
trap '[[ -z $server ]] || { kill -9 $server; tail -n 30 log >&2; }' EXIT

cat >redis.conf <<'CONF'
port 0
unixsocket redis.sock
unixsocketperm 700
daemonize no
logfile log
save ""
appendonly yes
aof-use-rdb-preamble no
io-threads 2
io-threads-do-reads yes
lazyfree-lazy-eviction yes
lazyfree-lazy-user-del yes
hash-max-listpack-entries 64
enable-debug-command yes
CONF

start() {
    # redis-server is this very file; the package redis-tools has it without a service.
    (exec -a redis-server redis-check-rdb redis.conf) &
    server=$!
    wait_for answers
}

# Without "loading the dataset": only then does it answer.
answers() {
    [[ $(redis-cli -s redis.sock ping) == PONG ]]
}

stop() {
    status redis-cli -s redis.sock shutdown "$@"
    status wait "$server"
    server=
    wait_for test ! -S redis.sock
}

ask() {
    redis-cli -s redis.sock "$@"
}

settled() {
    ! ask info persistence | grep -E '^(rdb_bgsave_in_progress|aof_rewrite_in_progress|aof_rewrite_scheduled):1'
}

start
mapped redis-server "$server"
canary redis-cli redis-benchmark -- bash -c 'redis-cli -s redis.sock ping >/dev/null
    redis-benchmark -s redis.sock -n 10 -c 2 -q ping >/dev/null'

n=$(scale 8000 40000)
awk -v n="$n" 'BEGIN {
    for (i = 0; i < n; i++) {
        printf "SET key:%d value-%d-%0*d\n", i, i * 7, i % 200, i
        printf "HSET hash:%d field:%d %d\n", i % 97, i, i * 3
        printf "RPUSH list:%d item-%d-%0*d\n", i % 13, i, i % 50, 1
        printf "ZADD zset:%d %d member:%d\n", i % 11, i * 37 % 1009, i % 3001
        printf "SADD set:%d %d\n", i % 17, i * 13 % 4001
        if (i % 10 == 0) printf "XADD stream:%d %d-1 n %d text some-text-%d\n", i % 3, i + 1, i, i
        if (i % 20 == 0) printf "PFADD visitors %d\nSETBIT bits %d 1\nAPPEND grows part-%d;\n", i % 5000, i * 31, i
        if (i % 50 == 0) printf "DEL key:%d\nEXPIRE key:%d 100000\nINCRBYFLOAT total %d.25\n", i / 2, i + 1, i
    }
}' | ask --pipe
ask dbsize
ask debug digest

ask get key:777
ask hlen hash:3
ask hget hash:96 field:193
ask lrange list:5 10 14
ask zrange zset:4 0 4 withscores
ask zcount zset:4 100 500
ask zrevrangebyscore zset:1 900 800 limit 2 3
ask scard set:3
ask sinter set:1 set:2 set:3 | sort -n | cksum
ask sunionstore all set:0 set:1 set:2 set:3 set:4
ask xlen stream:0
ask xrange stream:1 - + count 2
ask xgroup create stream:2 group 0
ask xreadgroup group group me count 2 streams stream:2 '>'
ask pfcount visitors
ask bitcount bits
ask strlen grows
ask getrange grows 0 40
ask --scan --pattern 'hash:*' | sort | cksum
ask sort list:3 alpha limit 0 3 desc
ask object encoding hash:3
ask type stream:0
ask lpos list:2 item-2-01
ask linsert list:2 before item-15-00000000000001 inserted
ask zunionstore zall 3 zset:0 zset:1 zset:2 weights 1 2 3
ask geoadd places 13.361389 38.115556 Palermo 15.087269 37.502669 Catania
ask geosearch places fromlonlat 15 37 byradius 200 km asc withdist
ask eval 'local t = {}
    for i = 1, 20000 do t[i] = tostring(i) .. string.rep("x", i % 30) end
    redis.call("RPUSH", "from-lua", unpack(t, 1, 3000))
    return {#table.concat(t, ","), cjson.encode({a = 1, b = {1, 2, 3}}), redis.sha1hex(t[777])}' 0
ask eval 'return redis.call("INCR", KEYS[1]) + no_such_variable' 1 counter
printf 'MULTI\nINCR a\nINCR a\nLPUSH a x\nEXEC\nGET a\n' | ask
ask get list:1
ask absent-command

# Values that grow to tens of megabytes, are copied, and are freed by another thread.
head -c 30000000 /dev/zero | tr '\0' 'v' | ask -x set big | cksum
ask strlen big
ask setrange big 40000000 end
ask copy big copy
ask getrange copy 39999995 -1
ask dump list:7 | cksum
ask unlink big copy
ask flushdb async
ask dbsize

redis-benchmark -s redis.sock -n "$n" -c 30 -P 8 -r 5000 -d 300 --threads 2 -q \
    -t set,get,incr,lpush,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100 | tr '\r' '\n' |
    grep -oE '^[A-Z_0-9 ()a-z]+: [0-9.]+ requests' | sed 's/: .*//' | sort -u
ask flushall
for ((i = 0; i < 300; i++)); do
    printf 'SET s%d %0*d\nHSET h%d a %d b %d\nRPUSH l %d\n' "$i" $((i * 11)) 7 $((i % 20)) "$i" "$i" "$i"
done | ask | sort | uniq -c | sort -n | tail -n 3
before=$(ask debug digest)
ask bgsave
wait_for settled
ask bgrewriteaof
wait_for settled
ask info persistence | grep -E '^(rdb_last_bgsave_status|aof_last_bgrewrite_status)'
ask save
for words in 'memory purge' 'memory doctor' 'memory stats' 'memory malloc-stats' 'info memory' 'debug reload'; do
    # What they say depends on the allocator, that they say it does not.
    # shellcheck disable=SC2086 # two words
    [[ $(ask $words | wc -c) -gt 1 ]] && echo "$words"
done
ask memory usage l samples 0 | awk '{ print ($1 > 500 && $1 < 100000) }'
ask config set maxmemory 3mb
ask config set maxmemory-policy allkeys-lru
for ((i = 0; i < 400; i++)); do
    printf 'SET e%d %020000d\n' "$i" 7
done | ask | sort | uniq -c
ask info stats | grep -E '^evicted_keys:[1-9]' | sed 's/:.*//'
ask config set maxmemory 0
for ((i = 0; i < 400; i++)); do
    printf 'DEL e%d s%d h%d\n' "$i" "$i" "$i"
done | ask >/dev/null
ask del l
for ((i = 0; i < 300; i++)); do
    printf 'SET s%d %0*d\nHSET h%d a %d b %d\nRPUSH l %d\n' "$i" $((i * 11)) 7 $((i % 20)) "$i" "$i" "$i"
done | ask >/dev/null
[[ $(ask debug digest) == "$before" ]] && echo 'the same data again'
stop save

# From the append-only file, then from the snapshot.
start
mapped loaded-again "$server"
[[ $(ask debug digest) == "$before" ]] && echo 'the same data from the append-only file'
stop nosave
sed -i 's/^appendonly yes/appendonly no/' redis.conf
redis-check-rdb dump.rdb | grep -oE '(Checksum OK|[0-9]+ keys read)'
start
[[ $(ask debug digest) == "$before" ]] && echo 'the same data from the snapshot'
# The shell speaks of the signal when it reaps the server, which may be in either command.
{
    ask debug segfault >/dev/null || true
    status wait "$server"
} 2>/dev/null
server=
grep -oE 'crashed by signal: [0-9]+' log
