# What the scripts test-* of this folder share: a running program that is asked for its leaks.
# shellcheck shell=bash disable=SC2034 # what the scripts read
. "$(dirname "${BASH_SOURCE[0]}")/../preload/lib.sh"
need library python3
memprof=$MEMPROF_BUILD/tools/memprof
programs=$MEMPROF_BUILD/tests/leak
if [ ! -x "$memprof" ]; then
    skip "$(basename "$0")" "the tools are not built"
    exit 0
fi
out=$scratch/out
err=$scratch/err

# expect NAME WANT GOT
expect() {
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "it is '$3', not '$2'; $(tail -n 1 "$err" 2>/dev/null)"
    fi
}

# start OPTIONS ARGS...: $pid, whose input stays open until stop.
start() {
    local options=$1
    shift
    rm -f "$scratch/input"
    mkfifo "$scratch/input"
    : >"$out"
    LD_PRELOAD=$MEMPROF_LIB MEMPROF_OPTIONS=$options "$@" <"$scratch/input" >"$out" 2>"$err" &
    pid=$!
    exec 9>"$scratch/input"
    for _ in $(seq 500); do
        grep -q '^ready' "$out" && return
        sleep 0.02
    done
}

stop() {
    exec 9>&-
    stopped=0
    wait "$pid" || stopped=$?
}

# json FIELD...: of the report in $scratch/json.
json() {
    python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
for path in sys.argv[2:]:
    value = report
    for word in path.split("."):
        value = value[int(word) if word.isdigit() else word]
    print(value)' "$scratch/json" "$@" 2>/dev/null | paste -sd' '
}
