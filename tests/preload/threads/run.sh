# What test-limits and test-threads share: programs run two at a time, each in a folder of its own,
# and are judged by their status and by what they say on stderr. Read after MEMPROF_LIB is set.
# shellcheck shell=bash

# Not in TMPDIR: some programs run as another user, who may not be able to enter that.
scratch=$(mktemp -d /tmp/memprof-test.XXXXXX)
chmod 755 "$scratch"
clean_up() {
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# shellcheck disable=SC2034 # for the scripts that read this
if [ -n "$MEMPROF_LIB" ]; then
    if [ ! -f "$MEMPROF_LIB" ]; then
        echo "not ok $(basename "$0"): there is no $MEMPROF_LIB: build first"
        exit 1
    fi
    heap=(env "LD_PRELOAD=$MEMPROF_LIB")
else
    # One arena: each further one takes 128 MiB of address space, which is no matter of ours.
    heap=(env MALLOC_ARENA_MAX=1)
fi

failures=0
report() {
    echo "$1"
    case $1 in
    "not ok "*) failures=$((failures + 1)) ;;
    esac
}

# Runs one program and says how it went. A line of the library's that nobody expects is a failure
# even when the program ends well. $1 case, $2 seconds, then the command.
judge() {
    local name=$1 seconds=$2 folder status=0 reason
    shift 2
    folder=$(mktemp -d "$scratch/case.XXXXXX")
    (cd "$folder" && exec timeout --foreground -k 5 "$seconds" "$@" >"$folder/out" 2>"$folder/err") ||
        status=$?
    # Two lines: before the last words of a crash there may be the seed that leads to it.
    reason=$(tail -n 2 "$folder/err" | paste -s -d ' ')
    if [ "$status" = 0 ] && grep -q '^memprof:' "$folder/err"; then
        echo "not ok $name: says $(grep -m 1 '^memprof:' "$folder/err")"
    elif [ "$status" = 0 ]; then
        echo "ok $name"
    elif [ "$status" = 77 ]; then
        echo "skip $name: $reason"
    else
        echo "not ok $name: status $status${reason:+: $reason}"
    fi
    rm -rf "$folder"
}

# Runs a function that prints result lines in the background; collect prints them, in order. The
# shell's own words about a program that a signal ended are dropped: the status says it.
started=0
background() {
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do
        wait -n || true
    done
    started=$((started + 1))
    "$@" >"$scratch/result.$started" 2>/dev/null &
}

start() {
    background judge "$@"
}

skip() { # NAME REASON
    background echo "skip $1: $2"
}

collect() {
    local i
    wait
    for ((i = 1; i <= started; i++)); do
        report "$(cat "$scratch/result.$i")"
        rm -f "$scratch/result.$i"
    done
    started=0
}

finish() {
    exit $((failures > 0))
}
