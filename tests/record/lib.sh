# What test-stacks and test-dump share, on top of what the other scripts under preload do.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../preload/lib.sh"

need library python3
export MEMPROF_SRC
# shellcheck disable=SC2034 # read by the scripts
programs=$MEMPROF_BUILD/tests/record
# shellcheck disable=SC2034
check=$MEMPROF_SRC/tests/record/check.py
