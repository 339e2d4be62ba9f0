# What the tree checks share: how a case is reported, and which files belong to the tree.
# shellcheck shell=bash
set -eu

: "${MEMPROF_SRC:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
: "${MEMPROF_BUILD:=$MEMPROF_SRC/build}"
: "${MEMPROF_LIB:=$MEMPROF_BUILD/src/libmemprof.so}"
cd "$MEMPROF_SRC"

failures=0

pass() {
    echo "ok $1"
}

fail() {
    echo "not ok $1: $2"
    failures=$((failures + 1))
}

# One case: it holds when nothing was found wrong. $2 is what was found, one finding a line; the
# findings go below the verdict, indented.
none_of() {
    if [ -z "$2" ]; then
        pass "$1"
    else
        fail "$1" "$(head -n 1 <<<"$2")$(more "$2")"
        # shellcheck disable=SC2001 # every line, not the first
        sed 's/^/    /' <<<"$2"
    fi
}

more() {
    local lines
    lines=$(wc -l <<<"$1")
    if [ "$lines" -gt 1 ]; then
        echo " (and $((lines - 1)) more)"
    fi
}

finish() {
    exit $((failures > 0))
}

need_tool() {
    if ! command -v "$1" >/dev/null; then
        echo "skip $(basename "$0"): $1 is not installed"
        exit 0
    fi
}

need_library() {
    if [ ! -f "$MEMPROF_LIB" ]; then
        fail "$(basename "$0")" "there is no $MEMPROF_LIB: build first"
        finish
    fi
}

# The names of the tree's files, a line each: what git knows or would add, and in an unpacked archive
# everything outside the build folders.
tree_names() {
    if [ "$(git rev-parse --show-toplevel 2>/dev/null)" -ef "$MEMPROF_SRC" ]; then
        git ls-files --cached --others --exclude-standard
    else
        find . \( -name .git -o -path './build' -o -path './build-*' \) -prune -o -type f -print |
            sed 's|^\./||'
    fi | LC_ALL=C sort -u
}

# The files of the tree whose names match one of the patterns (as in `case`; * crosses folders).
tree_files() {
    local file pattern
    tree_names | while IFS= read -r file; do
        # Removed, and not committed yet.
        [ -f "$file" ] || continue
        for pattern in "$@"; do
            # shellcheck disable=SC2254 # a pattern is what it is
            case $file in
            $pattern)
                printf '%s\n' "$file"
                break
                ;;
            esac
        done
    done
}

# The shell scripts of the tree, by name or by their first line.
shell_files() {
    local file
    tree_files '*' | while IFS= read -r file; do
        case $file in
        *.sh) printf '%s\n' "$file" ;;
        *.[ch] | *.md) ;;
        *)
            if head -n 1 "$file" | grep -aqE '^#!.*[/ ](ba|da)?sh( |$)'; then
                printf '%s\n' "$file"
            fi
            ;;
        esac
    done
}
