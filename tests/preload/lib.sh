# What the scripts test-* of this folder share: how a case is reported, a scratch folder, and how a
# program is started under the library. MEMPROF_LIB=none starts the programs on plain glibc: that
# tests the tests.
# shellcheck shell=bash
set -eu

: "${MEMPROF_SRC:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${MEMPROF_BUILD:=$MEMPROF_SRC/build}"
: "${MEMPROF_LIB:=$MEMPROF_BUILD/src/libmemprof.so}"
: "${MEMPROF_FULL:=0}"
export MEMPROF_FULL
unset LD_PRELOAD MEMPROF_OPTIONS
export LC_ALL=C
ulimit -S -c 0

# shellcheck disable=SC2034 # read by the scripts
programs=$MEMPROF_BUILD/tests/preload
# Seconds that a program may take.
limit=$((MEMPROF_FULL ? 600 : 120))
failures=0
scratch=$(mktemp -d "${TMPDIR:-/tmp}/memprof-preload.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

if [ "$MEMPROF_LIB" != none ] && [ ! -f "$MEMPROF_LIB" ]; then
    echo "not ok $(basename "$0"): there is no $MEMPROF_LIB: build first"
    exit 1
fi

pass() {
    echo "ok $1"
}

fail() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
}

skip() {
    echo "skip $1: $2"
}

finish() {
    exit $((failures > 0))
}

# need PROGRAM...: without one of them there is nothing to test; `library` is the library.
need() {
    local program
    for program in "$@"; do
        if [ "$program" = library ]; then
            [ "$MEMPROF_LIB" = none ] || continue
        elif command -v "$program" >/dev/null; then
            continue
        fi
        skip "$(basename "$0")" "this needs $program"
        exit 0
    done
}

# under OPTIONS PROGRAM ARGS...: the program with the library, and nothing else with it: the loader
# reads LD_PRELOAD after env has started the program. A program that hangs is ended, and its status
# is 124.
under() {
    local options=$1
    shift
    local with=()
    if [ "$MEMPROF_LIB" != none ]; then
        with=(LD_PRELOAD="$MEMPROF_LIB" MEMPROF_TEST_LIB="$MEMPROF_LIB")
    fi
    if [ -n "$options" ]; then
        with+=(MEMPROF_OPTIONS="$options")
    fi
    # The shell's own word on a program that a signal ended is not the program's.
    { timeout -k 5 "$limit" env "${with[@]}" "$@" 2>&3 3>&-; } 3>&2 2>/dev/null
}

# cases LABEL OPTIONS PROGRAM ARGS...: a program that prints its own cases. LABEL, if any, goes
# before each name. A program that dies, or claims a failure without a case, is a failure too.
cases() {
    local label=$1 options=$2 status=0 said=$scratch/cases.out
    shift 2
    under "$options" "$@" >"$said" 2>"$scratch/cases.err" || status=$?
    if [ -n "$label" ]; then
        sed -i -E "s/^(ok|not ok|skip) /&$label: /" "$said"
    fi
    grep -E '^(ok|not ok|skip) ' "$said" || true
    local failed
    failed=$(grep -c '^not ok ' "$said" || true)
    failures=$((failures + failed))
    local name=${label:+$label: }${1##*/}
    if [ "$status" -eq 124 ]; then
        fail "$name runs to its end" "still running after $limit s"
    elif [ "$status" -gt 1 ] || [ $((status == 1)) -ne $((failed > 0)) ]; then
        fail "$name runs to its end" "status $status; $(tail -n 1 "$scratch/cases.err")"
    elif ! [ -s "$said" ]; then
        fail "$name runs to its end" "it reported no case"
    fi
    # The library has no reason to say anything.
    if grep -q '^memprof:' "$scratch/cases.err"; then
        fail "$name makes the library say nothing" "$(grep -m 1 '^memprof:' "$scratch/cases.err")"
    fi
}
