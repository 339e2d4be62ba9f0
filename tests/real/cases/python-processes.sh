# python3's multiprocessing by fork, spawn and forkserver, shared memory, subprocess and limits.
# set: core
# needs: python3
# witness: parent fork spawn forkserver limited
# limit: 90
# shellcheck shell=bash

cat >work.py <<'PY'
import hashlib, multiprocessing, multiprocessing.shared_memory, os, resource, signal, subprocess, sys


def note(name):
    with open('/proc/self/maps') as maps, open('tmp/maps-' + name, 'w') as out:
        out.write(maps.read())


def work(i):
    table = {f'{k}-{i}': [k] * (k % 50) for k in range(4000)}
    for key in list(table)[::3]:
        del table[key]
    return hashlib.sha256(repr(sorted(table.items())).encode()).hexdigest()[:12]


def relay(name, inbox, outbox):
    note(name)
    for item in iter(inbox.get, None):
        outbox.put({k: v[::-1] for k, v in item.items()})
    outbox.put('end')


def fill(name, n):
    part = multiprocessing.shared_memory.SharedMemory(name)
    part.buf[n * 1000:(n + 1) * 1000] = bytes([n]) * 1000
    part.close()


def limited():
    # What does not fit is refused, and what fits is still given afterwards.
    note('limited')
    for name in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        resource.setrlimit(name, (1 << 30, 1 << 30))
        refused = 0
        held = []
        for _ in range(64):
            try:
                held.append(bytearray(100 << 20))
            except MemoryError:
                refused += 1
        print('refused some' if 0 < refused < 64 else f'refused {refused}', end=' ')
        held.clear()
        try:
            print(len(bytearray(400 << 20)), sum(len(str(i)) for i in [*range(200000)]))
        except MemoryError:
            print('out of memory after all was freed')


def main():
    for method in ('fork', 'spawn', 'forkserver'):
        context = multiprocessing.get_context(method)
        inbox, outbox = context.Queue(), context.Queue()
        process = context.Process(target=relay, args=(method, inbox, outbox))
        process.start()
        for i in range(50):
            inbox.put({f'key {k}': f'value {i} {k}' * 20 for k in range(30)})
        inbox.put(None)
        got = list(iter(outbox.get, 'end'))
        process.join()
        print(method, len(got), hashlib.sha256(repr(got).encode()).hexdigest()[:12], process.exitcode)
        with context.Pool(3) as pool:
            print(method, pool.map(work, range(9), chunksize=2))
            pool.close()
            pool.join()
    part = multiprocessing.shared_memory.SharedMemory(create=True, size=20000)
    processes = [multiprocessing.Process(target=fill, args=(part.name, n)) for n in range(20)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    print('shared', hashlib.sha256(part.buf).hexdigest()[:12], [p.exitcode for p in processes])
    part.close()
    part.unlink()

    done = subprocess.run(['cat'], input=b'0123456789' * 300000, capture_output=True)
    print('cat', len(done.stdout), done.returncode)
    child = subprocess.Popen(['sleep', '30'], start_new_session=True, close_fds=True)
    child.terminate()
    print('sleep', child.wait() == -signal.SIGTERM)
    try:
        subprocess.run(['tmp/absent'])
    except FileNotFoundError as error:
        print(error)
    for code in ('import os; os.abort()', 'raise ValueError(7)', 'import sys; sys.exit(9)'):
        done = subprocess.run([sys.executable, '-c', code], stderr=subprocess.PIPE)
        print(done.returncode, done.stderr.decode().strip().splitlines()[-1:])
    note('parent')


if __name__ == '__main__':
    if sys.argv[1:] == ['limited']:
        limited()
    else:
        main()
PY
/usr/bin/python3 work.py
/usr/bin/python3 work.py limited
for name in parent fork spawn forkserver limited; do
    mapped_text "$name" "tmp/maps-$name"
done
# A limit that is there from the start.
for limit in 400000 4000000; do
    (
        ulimit -v $limit
        /usr/bin/python3 -c 'import json; print(len(json.dumps([*range(300000)])))
try: bytearray(5 << 30)
except MemoryError: print("MemoryError")' 2>&1
    ) || echo "status $?"
done
