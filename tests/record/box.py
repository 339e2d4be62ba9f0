"""What test-box does to black boxes: reads and changes their bytes (include/memprof/box.h).

    box.py held FILE SITE TOOL          bytes and blocks that SITE holds, by memprof show
    box.py flip FILE TOOL COUNT SEED    changes a bit somewhere, COUNT times, and has TOOL show it
    box.py cut FILE TOOL                cuts it, at many lengths
    box.py pid FILE PID                 makes it one of the process PID
    box.py version FILE VERSION
    box.py sums FILE                    changes a sum of each stack, and of each kind of its frees
"""
import json
import os
import random
import re
import struct
import subprocess
import sys

AREAS = 8
HEAD_PLACES = 40  # magic, version, head_size, file_size, start_ticks, pid_namespace
MASK = (1 << 64) - 1


def check(data):
    c = 0x9E3779B97F4A7C15
    for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]):
        c = ((c ^ word) * 0xFF51AFD7ED558CCD) & MASK
        c ^= c >> 32
    return c


def head(file):
    file.seek(0)
    first = file.read(16)
    size = struct.unpack_from("<I", first, 12)[0]
    file.seek(0)
    return bytearray(file.read(size))


def put_head(file, data):
    data[-8:] = struct.pack("<Q", check(data[:-8]))
    file.seek(0)
    file.write(data)


def used(file):
    """Where something stands: (offset, size)."""
    data = head(file)
    file.seek(4096)
    counts = struct.unpack("<%dQ" % AREAS, file.read(8 * AREAS))
    parts = [(0, len(data)), (4096, 128)]
    for i, count in enumerate(counts):
        offset, _, record = struct.unpack_from("<QQI", data, HEAD_PLACES + 24 * i)
        if count:
            parts.append((offset, count * record))
    return parts


def show(tool, path):
    run = subprocess.run([tool, "show", "--top", "3", path], capture_output=True, timeout=60)
    lines = run.stderr.decode(errors="replace").splitlines()
    # A module that is not found is named for itself.
    lines = [line for line in lines if "its frames stay unnamed" not in line and "build-id" not in line]
    if run.returncode == 2 and len(lines) == 1:
        return "refused"
    if run.returncode == 0 and not lines:
        return "shown"
    return "status %d, %d lines of error: %s" % (run.returncode, len(lines), lines[:2])


def tally(results):
    bad = [r for r in results if r not in ("refused", "shown")]
    if bad:
        print("%d of %d went wrong, the first: %s" % (len(bad), len(results), bad[0]))
        return 1
    print("%d shown, %d refused" % (results.count("shown"), results.count("refused")))
    return 0


def flip(path, tool, count, seed):
    random.seed(int(seed))
    results = []
    with open(path, "r+b") as file:
        parts = used(file)
        for _ in range(int(count)):
            offset, size = random.choice(parts)
            at = offset + random.randrange(size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << random.randrange(8)]))
            file.flush()
            results.append(show(tool, path))
            file.seek(at)
            file.write(bytes([byte]))
            file.flush()
        results.append(show(tool, path))
    return tally(results)


def cut(path, tool):
    results = []
    whole = os.path.getsize(path)
    with open(path, "rb") as file:
        ends = {0, 7, 100, 4095, 4096, 5000, whole - 1}
        for offset, size in used(file):
            ends |= {offset, offset + size // 2, offset + size}
    for end in sorted(ends, reverse=True):
        os.truncate(path, end)
        results.append(show(tool, path))
    if "shown" in results:
        print("one that is cut was shown")
        return 1
    return tally(results)


STACKS, FREES = 3, 4  # areas
SUMS = {STACKS: 24, FREES: 24}  # where a record's sums begin


def sums(path):
    with open(path, "r+b") as file:
        data = head(file)
        file.seek(4096)
        counts = struct.unpack("<%dQ" % AREAS, file.read(8 * AREAS))
        for area, first in SUMS.items():
            offset, _, record = struct.unpack_from("<QQI", data, HEAD_PLACES + 24 * area)
            for i in range(counts[area]):
                file.seek(offset + i * record + first)
                byte = file.read(1)[0]
                file.seek(offset + i * record + first)
                file.write(bytes([byte ^ 1]))
    print(counts[STACKS] + counts[FREES])
    return 0


def change(path, offset, number, form="<I"):
    with open(path, "r+b") as file:
        data = head(file)
        struct.pack_into(form, data, offset, int(number))
        put_head(file, data)
    return 0


def held(path, site, tool):
    run = subprocess.run([tool, "show", "--by", "function", "--format", "json", "--top", "0", path],
                         capture_output=True, timeout=60)
    if run.returncode != 0:
        print("status %d: %s" % (run.returncode, run.stderr.decode(errors="replace")))
        return 1
    for found in json.loads(run.stdout)["sites"]:
        if any(re.search(site, frame["function"] or "") for frame in found["frames"]):
            print(found["bytes"], found["objects"])
            return 0
    print(0, 0)
    return 0


def main(what, path, *rest):
    if what == "flip":
        return flip(path, *rest)
    if what == "cut":
        return cut(path, *rest)
    if what == "held":
        return held(path, *rest)
    if what == "sums":
        return sums(path)
    if what == "version":
        return change(path, 8, rest[0])
    if what == "pid":
        # PROCESS stands behind the places; its pid is at 24.
        return change(path, HEAD_PLACES + 24 * AREAS + 24, rest[0])
    return 2


sys.exit(main(*sys.argv[1:]))
