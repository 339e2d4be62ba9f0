#!/bin/sh
# The same as endurance.py, in sh: a clean and a leaky service side by side under memprof, kept busy,
# asked for leaks every few seconds, and watched all the while. Live bytes go to live.csv, and as a
# plot of text to the standard output. Exit status 1 if a service leaks or grows; the last line names
# it.
#
#     examples/endurance/endurance.sh [SECONDS [EVERY [FOLDER]]]
set -eu

seconds=${1:-60} every=${2:-5} out=${3:-endurance.out}
build=${MEMPROF_BUILD:-$(dirname "$0")/../../build}
memprof=$build/tools/memprof service=$build/examples/endurance/service
min_bytes=${MIN_BYTES:-16k} rate=${RATE:-500}
mkdir -p "$out"
out=$(cd "$out" && pwd)

# start NAME OPTION...: the service, its load, and who watches it; its number is in NAME.pid.
start() {
    name=$1
    shift
    "$memprof" run --rate 16k -- "$service" "$out/$name.sock" "$@" &
    echo $! >"$out/$name.pid"
    tries=0
    until [ -S "$out/$name.sock" ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || exit 2
        sleep 0.1
    done
    # Longer than is needed: it ends with the service.
    "$service" --load "$out/$name.sock" $((seconds + 60)) "$rate" 2>/dev/null &
    "$memprof" watch --json --every "$(awk "BEGIN { print $seconds / 60 < 0.2 ? 0.2 : $seconds / 60 }")s" \
        --for "${seconds}s" "$(cat "$out/$name.pid")" >"$out/$name.watch" &
    echo $! >"$out/$name.watcher"
}

stop() {
    for name in clean leaky; do
        for file in "$out/$name.pid" "$out/$name.watcher"; do
            [ ! -f "$file" ] || kill "$(cat "$file")" 2>/dev/null || true
            rm -f "$file"
        done
    done
}
rm -f "$out"/*.pid "$out"/*.watcher "$out"/*.sock
trap stop EXIT
trap 'exit 130' INT TERM

start clean
start leaky --leak

# The number behind a key of JSON, the first there is.
number() {
    sed -n "s/.*\"$2\":\([-0-9.]*\).*/\1/p" "$1" | head -n 1
}

# ---- rounds ----

began=$(date +%s) leaks=''
while sleep "$every" && [ $(($(date +%s) - began)) -lt "$seconds" ]; do
    for name in clean leaky; do
        status=0
        "$memprof" leaks --json --min-bytes "$min_bytes" "$(cat "$out/$name.pid")" \
            >"$out/$name.leaks" || status=$?
        [ $status -eq 2 ] || printf '%6d s  %s: %s bytes lost directly\n' $(($(date +%s) - began)) "$name" \
            "$(number "$out/$name.leaks" leaked_bytes)"
        [ $status -ne 1 ] || leaks="$leaks $name "
    done
done

# ---- results ----

failed=''
echo "service,time,live_bytes,rss_bytes" >"$out/live.csv"
for name in clean leaky; do
    status=0
    wait "$(cat "$out/$name.watcher")" || status=$?
    [ $status -ne 2 ] || exit 2
    sed -n 's/.*{"time":\([0-9.]*\),"live_bytes":\([0-9]*\),"rss_bytes":\([0-9]*\)}.*/'"$name"',\1,\2,\3/p' \
        "$out/$name.watch" >>"$out/live.csv"
    verdict=$(sed -n 's/.*"verdict":"\([a-z]*\)"}$/\1/p' "$out/$name.watch" | tail -n 1)
    echo "$name: $verdict, $(number "$out/$name.watch" slope_bytes_per_hour) bytes an hour"
    case "$status$leaks" in
    1* | *" $name "*) failed="$failed $name" ;;
    esac
done

# Live bytes from bottom to top, time from left to right: c clean, L leaky.
awk -F, 'NR > 1 {
    if (!first) first = $2
    n++; name[n] = $1; x[n] = $2 - first; y[n] = $3
    if (x[n] > most_x) most_x = x[n]
    if (y[n] > most_y) most_y = y[n]
}
END {
    if (!most_x || !most_y) exit
    for (i = 1; i <= n; i++)
        cell[int(y[i] / most_y * 15), int(x[i] / most_x * 60)] = name[i] == "leaky" ? "L" : "c"
    for (row = 15; row >= 0; row--) {
        line = sprintf("%7.1f MiB |", row * most_y / 15 / 1048576)
        for (column = 0; column <= 60; column++)
            line = line ((row, column) in cell ? cell[row, column] : " ")
        print line
    }
    printf "%11s +%s\n%13d%60d s\n", "", "-------------------------------------------------------------", 0, most_x
}' "$out/live.csv"

for name in $failed; do
    echo "FAILED: $name"
done
[ -z "$failed" ]
