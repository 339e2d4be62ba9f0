# A memory cgroup for what a script starts: version 1 or 2, if one can be made here.
# shellcheck shell=bash

# A group below the one that this script is in, so that whatever limits hold here go on to hold.
group=
make_group() { # BYTES
    local line path limit_file
    line=$(grep -m 1 -E '^[0-9]+:([a-z_,]*,)?memory(,[a-z_,]*)?:' /proc/self/cgroup || true)
    if [ -n "$line" ]; then
        path=/sys/fs/cgroup/memory${line#*:*:}
        limit_file=memory.limit_in_bytes
    else
        line=$(grep -m 1 '^0::' /proc/self/cgroup || true)
        path=/sys/fs/cgroup${line#0::}
        limit_file=memory.max
    fi
    path=$path/memprof-test-$$
    mkdir "$path" 2>/dev/null || return 1
    group=$path
    # A group without the controller has no such file.
    [ -w "$group/$limit_file" ] && echo "$1" >"$group/$limit_file" &&
        [ "$(cat "$group/$limit_file")" = "$1" ]
}

drop_group() {
    [ -z "$group" ] || rmdir "$group" 2>/dev/null || true
    group=
}

in_group() {
    bash -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@"
}
