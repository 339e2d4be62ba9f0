# What the cases share; test-real sources it before a case, in the case's own shell. It is apart
# because the evidence that the library was at work must be the same for every program.
#
# A witness is a line "NAME preloaded" or "NAME plain" in $REAL_WITNESS; test-real wants one from
# each program that a case names in its head. There are two ways to get one: `mapped` for a process
# that lives long enough to be looked at, `canary` for one that does not.
# shellcheck shell=bash

# scale SMALL LARGE: the size of an input, by the set that runs.
scale() {
    if [[ $MEMPROF_FULL == 1 ]]; then echo "$2"; else echo "$1"; fi
}

# status COMMAND...: runs it and prints its exit status, so that failures are compared as well.
status() {
    local code=0
    "$@" || code=$?
    echo "status $code"
}

# wait_for COMMAND...: until it succeeds, for at most a minute or so.
wait_for() {
    local i
    for ((i = 0; i < 1200; i++)); do
        ! "$@" >/dev/null 2>&1 || return 0
        sleep 0.05
    done
    echo "never came true: $*" >&2
    return 1
}

# mapped_text NAME FILE: FILE holds what NAME saw in /proc/self/maps. The library is at work when it
# is mapped and the break has not moved: glibc's malloc makes [heap] with its first small block.
mapped_text() {
    local has=plain
    ! grep -qF "$REAL_LIB" "$2" || has=preloaded
    if [[ $has == preloaded ]] && grep -qF '[heap]' "$2"; then
        has='has the library, and glibc'\''s heap as well'
    fi
    [[ -s $2 ]] || has='gave no map of its memory'
    echo "$1 $has" >>"$REAL_WITNESS"
}

# mapped NAME PID: the same, of a running process.
mapped() {
    cat "/proc/$2/maps" >tmp/maps
    mapped_text "$1" tmp/maps
}

# canary NAME... -- COMMAND...: runs the command with the loader's debugging on and reads there to
# whom each process that came of it bound libc's malloc. The names are those of the programs, as
# far as they are known by argv[0]; a process that is on no list must have the library as well.
canary() {
    local names=() dir record who
    while [[ $1 != -- ]]; do
        names+=("$1")
        shift
    done
    shift
    dir=$(mktemp -d tmp/canary-XXXXXX)
    dir=$PWD/$dir
    # Also for programs that run as another user; where the loader cannot write there, it prints.
    chmod 777 "$dir"
    (
        export LD_DEBUG=libs,bindings LD_DEBUG_OUTPUT=$dir/ld
        "$@"
    )
    for record in "$dir"/ld.*; do
        canary_record "$record"
    done
    for who in "${names[@]}"; do
        grep -qxF -e "$who plain" -e "$who preloaded" "$REAL_WITNESS" ||
            echo "$who left no trace in the loader's record" >>"$REAL_WITNESS"
    done
    rm -rf "$dir"
}

# A process that execs goes on in the same record: each program's bindings come before its name.
canary_record() {
    awk -v lib="$REAL_LIB" -v pre="$REAL_MODE" '
        /binding file .*\/libc\.so\.6 \[0\] to .* symbol .malloc. / {
            bound = index($0, " to " lib " ") ? "preloaded" : "plain"
        }
        /initialize program: / {
            name = $NF
            sub(/.*\//, "", name)
            print name, bound == "" ? "bound malloc nowhere" : bound
            bound = ""
        }' "$1" >>"$REAL_WITNESS"
}
