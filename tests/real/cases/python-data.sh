# python3's own structures and its C modules, under pymalloc, plain malloc and the debug hooks.
# set: core
# needs: python3
# witness: python pythonmalloc=malloc pythonmalloc=malloc_debug
# limit: 90
# shellcheck shell=bash

cat >work.py <<'PY'
import array, bz2, collections, ctypes, decimal, fractions, gc, hashlib, heapq, io, json, lzma
import pickle, random, re, sqlite3, struct, sys, tempfile, weakref, xml.etree.ElementTree as ET, zlib

size = int(sys.argv[1])
random.seed(7)


def show(name, value):
    if not isinstance(value, bytes):
        value = repr(value).encode()
    print(name, len(value), hashlib.sha256(value).hexdigest()[:16])


words = [''.join(random.choices('abcdefghij', k=random.randrange(1, 40))) for _ in range(size)]
table = collections.defaultdict(list)
for i, word in enumerate(words):
    table[word[:3]].append({'at': i, 'word': word, 'f': i / 7, 'n': None, 't': (i, word)})
text = json.dumps(table, sort_keys=True)
show('json', text.encode())
back = json.loads(text)
show('indented', json.dumps(back, indent=2, sort_keys=True).encode())
for key in list(table)[::2]:
    del table[key]
show('pickle', pickle.dumps(dict(table), 4))
show('sorted', sorted(words, key=lambda w: (len(w), w[::-1])))
show('heap', [heapq.heappop(h) for h in [list(words)] if not heapq.heapify(h) for _ in range(500)])

joined = ' '.join(words)
show('re', re.findall(r'\b(a\w{3,9})(?=\s+([b-d]+))', joined))
show('sub', re.sub(r'([aeiou])(\w)', lambda m: m[2].upper() + m[1], joined).encode())
show('split', re.split(r'(?:j+|cc)', joined))

decimal.getcontext().prec = 400
x = decimal.Decimal(2).sqrt()
for _ in range(150):
    x = (x + decimal.Decimal(3) / x) / 2
show('decimal', str(x * decimal.Decimal(10) ** 50).encode())
show('fraction', sum(fractions.Fraction(1, n) for n in range(1, 400)))
sys.set_int_max_str_digits(0)
show('bigint', str(3 ** 20000 // 7 ** 3000).encode())

db = sqlite3.connect(':memory:')
db.execute('create table t(id integer primary key, word text, n real)')
db.executemany('insert into t(word, n) values (?, ?)', ((w, i / 3) for i, w in enumerate(words)))
db.execute('create index by_word on t(word)')
show('sqlite', db.execute('select substr(word,1,2) p, count(*), sum(n), group_concat(id) from t '
                          'group by p order by p').fetchall())
show('like', db.execute("select id from t where word like '%ab%ba%' order by word, id").fetchall())
db.close()

blob = joined.encode() * 3
for module in (zlib, bz2, lzma):
    packed = module.compress(blob)
    assert module.decompress(packed) == blob
    print(module.__name__, len(packed))
stream = zlib.compressobj(9)
out = b''.join(stream.compress(blob[i:i + 777]) for i in range(0, len(blob), 777)) + stream.flush()
show('stream', out)

# Blocks that grow by realloc, from a few bytes to tens of megabytes, and shrink again.
grow = bytearray()
for i in range(24):
    grow += struct.pack('<I', i) * (1 << i >> 2)
show('bytearray', bytes(grow))
del grow[1000:]
show('shrunk', bytes(grow))
numbers = array.array('d')
for i in range(200000):
    numbers.append(i * 0.5)
show('array', numbers.tobytes())
buffer = io.StringIO()
for word in words:
    print(word, file=buffer)
show('stringio', buffer.getvalue().encode())

root = ET.Element('root')
for i in range(2000):
    ET.SubElement(ET.SubElement(root, 'a', n=str(i)), 'b').text = words[i]
show('xml', ET.tostring(ET.fromstring(ET.tostring(root))))


class Node:
    def __init__(self, peer):
        self.peer, self.load = peer, [self] * 3


seen = weakref.WeakSet()
for i in range(5000):
    a = Node(None)
    a.peer = Node(a)
    seen.add(a)
del a
gc.collect()
print('cycles left', len(seen), 'garbage', len(gc.garbage))

libc = ctypes.CDLL(None)
libc.malloc.restype = libc.realloc.restype = libc.calloc.restype = ctypes.c_void_p
libc.strdup.restype = ctypes.c_void_p
held = []
for i in range(3000):
    p = libc.malloc(ctypes.c_size_t(i * 13 % 5000))
    assert p % 16 == 0
    held.append(ctypes.c_void_p(libc.realloc(ctypes.c_void_p(p), ctypes.c_size_t(i * 7 + 1))))
    held.append(ctypes.c_void_p(libc.strdup(b'x' * (i % 300))))
for p in held[::2] + held[1::2]:
    libc.free(p)
big = (ctypes.c_char * (64 << 20))()
big[-1] = b'z'
show('ctypes', big.raw[-4096:])
del big

for wanted in (1 << 62, sys.maxsize):
    try:
        bytearray(wanted)
        print('more memory than there is')
    except MemoryError:
        print('MemoryError')
with open('/proc/self/maps') as maps:
    print(maps.read(), file=open(sys.argv[2], 'w'))
PY

export PYTHONHASHSEED=0
size=$(scale 12000 50000)
/usr/bin/python3 work.py "$size" tmp/maps-default | tee said
mapped_text python tmp/maps-default
for malloc in malloc malloc_debug; do
    PYTHONMALLOC=$malloc /usr/bin/python3 work.py "$size" "tmp/maps-$malloc" | cmp - said
    mapped_text "pythonmalloc=$malloc" "tmp/maps-$malloc"
done
PYTHONMALLOC=debug /usr/bin/python3 -X dev -c 'print(sum(len(str([i] * 9)) for i in range(20000)))'
