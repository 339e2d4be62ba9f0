# python3 with many threads: blocks made in one and freed in another, threads that come and go.
# set: core
# needs: python3
# witness: python
# limit: 90
# shellcheck shell=bash

cat >work.py <<'PY'
import concurrent.futures, hashlib, os, queue, subprocess, sys, threading, zlib

rounds = int(sys.argv[1])


def digest(parts):
    return hashlib.sha256(b''.join(parts)).hexdigest()[:16]


# zlib and hashlib let go of the interpreter's lock, so these really run at once.
def pack(i):
    data = (b'block %d ' % i) * (500 + i * 37 % 3000)
    packed = zlib.compress(data, 1 + i % 9)
    if zlib.decompress(packed) != data:
        raise SystemExit('damaged')
    return hashlib.sha1(packed * 20).digest()


with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print('pool', digest(pool.map(pack, range(rounds))))

jobs, done = queue.Queue(50), queue.Queue()


def consume():
    total = 0
    while (item := jobs.get()) is not None:
        total += sum(map(len, item))
        done.put([s.upper() for s in item[::3]])
    done.put(total)


threads = [threading.Thread(target=consume) for _ in range(6)]
for t in threads:
    t.start()
for i in range(rounds):
    jobs.put(['item %d of %d' % (k, i) * (k % 40) for k in range(60)])
for t in threads:
    jobs.put(None)
for t in threads:
    t.join()
results = [done.get() for _ in range(rounds + 6)]
print('queue', sum(r for r in results if isinstance(r, int)),
      sum(len(s) for r in results if not isinstance(r, int) for s in r))

# Short-lived threads leave what they made to the main one.
kept = {}


def leave(i):
    kept[i] = [bytes([i % 256]) * (1 + 97 * k % 9000) for k in range(30)]


threads = []
for i in range(rounds):
    threads.append(threading.Thread(target=leave, args=(i,)))
    threads[-1].start()
    if i % 10 == 9:
        for t in threads:
            t.join()
        threads.clear()
        for k in range(i - 9, i - 2):
            del kept[k]
print('left', len(kept), sum(len(b) for part in kept.values() for b in part))

local = threading.local()


def with_local(n):
    local.data = {k: str(k) * n for k in range(200)}
    return sum(map(len, local.data.values()))


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print('local', sum(pool.map(with_local, range(400))))


def ask(i):
    return subprocess.run(['sh', '-c', f'echo {i}; exit {i % 5}'], capture_output=True)


with concurrent.futures.ThreadPoolExecutor(5) as pool:
    answers = list(pool.map(ask, range(40)))
print('children', b''.join(a.stdout for a in answers).split(), [a.returncode for a in answers])

# fork while other threads allocate: the child must find a heap that works.
stop = threading.Event()


def churn():
    while not stop.is_set():
        [bytearray(k * 50) for k in range(400)]


threads = [threading.Thread(target=churn) for _ in range(4)]
for t in threads:
    t.start()
codes = []
for i in range(40):
    pid = os.fork()
    if pid == 0:
        held = [bytearray(k * 70) for k in range(1500)]
        text = ','.join(str(len(b)) for b in held)
        os._exit(len(text) % 200)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop.set()
for t in threads:
    t.join()
print('forks', codes)
with open('/proc/self/maps') as maps:
    print(maps.read(), file=open('tmp/maps-python', 'w'))
PY
/usr/bin/python3 work.py "$(scale 200 1000)" | tee said
mapped_text python tmp/maps-python
PYTHONMALLOC=malloc /usr/bin/python3 work.py "$(scale 200 1000)" | cmp - said
