# node: promises, buffers, streams, zlib and crypto in the thread pool, worker threads, child
# processes, a server and its clients, WebAssembly, errors.
# set: full
# needs: node
# witness: node worker child
# limit: 120
# shellcheck shell=bash

cat >work.js <<'JS'
'use strict';
const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto'), http = require('http');
const path = require('path'), util = require('util'), vm = require('vm');
const { Worker, isMainThread, parentPort, workerData, MessageChannel } = require('worker_threads');
const { fork, execFileSync, spawnSync } = require('child_process');
const { Transform, pipeline } = require('stream');
const hash = (x) => crypto.createHash('sha256').update(x).digest('hex').slice(0, 16);

if (!isMainThread) {
    if (workerData.id === 0) fs.writeFileSync('tmp/maps-worker', fs.readFileSync('/proc/self/maps'));
    const words = {};
    for (let i = 0; i < 60000; i++) (words['k' + ((i * 7919 + workerData.id) % 9973)] ??= []).push('v' + i);
    const shared = new Int32Array(workerData.shared);
    for (let i = 0; i < 1000; i++) Atomics.add(shared, i % 16, 1);
    const buffer = Buffer.alloc(3 << 20, workerData.id + 65);
    const packed = zlib.deflateSync(buffer);
    parentPort.on('message', (m) => {
        if (m === 'end') process.exit(workerData.id);
        parentPort.postMessage({ len: m.length, sum: m.reduce((a, b) => a + b, 0) });
    });
    parentPort.postMessage({ id: workerData.id, hash: hash(JSON.stringify(words)), packed: packed.length, move: buffer.buffer }, []);
    return;
}
if (process.argv[2] === 'child') {
    fs.writeFileSync('tmp/maps-child', fs.readFileSync('/proc/self/maps'));
    process.on('message', (m) => process.send({ got: m.text.length, back: m.list.reverse().slice(0, 3) }, () => process.exit(9)));
    return;
}

async function main() {
    const log = (...args) => console.log(...args);
    const table = new Map();
    for (let i = 0; i < 100000; i++) table.set('key ' + (i * 31 % 20011), { i, list: [i, i + 1], text: 'x'.repeat(i % 50) });
    for (let i = 0; i < 20011; i += 3) table.delete('key ' + i);
    log('map', table.size, hash(JSON.stringify([...table].sort((a, b) => a[1].i - b[1].i))));
    let text = '';
    for (let i = 0; i < 200000; i++) text += 'part ' + i + ';';
    log('text', text.length, hash(text), text.match(/\d*7\d*;/g).length, hash(text.replace(/(\d+);part/g, (m, d) => -d)));

    const parts = [];
    for (let i = 0; i < 3000; i++) parts.push(Buffer.from('b'.repeat(i % 3000)), Buffer.allocUnsafe(i % 700).fill(i % 256));
    const all = Buffer.concat(parts);
    log('buffers', all.length, hash(all), hash(all.toString('base64')), all.indexOf('bbbbbbbbb'));
    const gzip = util.promisify(zlib.gzip), gunzip = util.promisify(zlib.gunzip);
    const brotli = util.promisify(zlib.brotliCompress), unbrotli = util.promisify(zlib.brotliDecompress);
    const packed = await Promise.all([...Array(24).keys()].map((i) => gzip(all.subarray(i * 1000), { level: i % 9 + 1 })));
    const back = await Promise.all(packed.map((p) => gunzip(p)));
    log('gzip', packed.map((p) => p.length).join(), back.every((b, i) => b.equals(all.subarray(i * 1000))));
    log('brotli', (await unbrotli(await brotli(all.subarray(0, 500000), { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }))).length);
    const keys = await Promise.all([...Array(8).keys()].map((i) => util.promisify(crypto.pbkdf2)('word' + i, 'salt', 3000, 64, 'sha512')));
    log('pbkdf2', hash(Buffer.concat(keys)), (await util.promisify(crypto.scrypt)('a', 'b', 32)).toString('hex'));
    const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    log('sign', crypto.verify('sha256', all, publicKey, crypto.sign('sha256', all, privateKey)));

    fs.writeFileSync('in.txt', text);
    await util.promisify(pipeline)(fs.createReadStream('in.txt', { highWaterMark: 1000 }),
        new Transform({ transform(c, e, done) { done(null, c.toString().toUpperCase()); } }),
        zlib.createGzip(), fs.createWriteStream('out.gz'));
    log('pipeline', hash(zlib.gunzipSync(fs.readFileSync('out.gz'))));
    log('files', (await Promise.all([...Array(200).keys()].map(async (i) => {
        await fs.promises.writeFile(`tmp/f${i}`, 'y'.repeat(i * 50));
        return (await fs.promises.readFile(`tmp/f${i}`)).length;
    }))).reduce((a, b) => a + b));

    const shared = new SharedArrayBuffer(64);
    const workers = await Promise.all([...Array(6).keys()].map((id) => new Promise((done, fail) => {
        const w = new Worker(__filename, { workerData: { id, shared } });
        w.once('error', fail);
        w.once('message', (m) => {
            w.once('message', (answer) => {
                w.once('exit', (code) => done(`${m.id}:${m.hash}:${m.packed}:${new Uint8Array(m.move).length}:${answer.sum}:${code}`));
                w.postMessage('end');
            });
            w.postMessage(new Uint8Array(1 << 20).fill(id + 1));
        });
    })));
    log('workers', workers.join(' '), new Int32Array(shared).join());
    const failing = new Worker('throw new RangeError("from a worker")', { eval: true });
    log(await new Promise((done) => failing.once('error', (e) => done(e.name + ' ' + e.message))));
    const small = new Worker('const a = []; for (;;) a.push(new Array(1e5).fill({}));', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 24 } });
    log(await new Promise((done) => small.once('error', (e) => done(e.code))));
    for (let i = 0; i < 15; i++) await new Worker('', { eval: true }).terminate();

    const child = fork(__filename, ['child']);
    const answer = await new Promise((done) => {
        child.once('message', (m) => child.once('exit', (code) => done(JSON.stringify(m) + code)));
        child.send({ text: 'z'.repeat(2000000), list: [...Array(5000).keys()] });
    });
    log('child', answer);
    log('exec', execFileSync('sort', ['-r'], { input: 'a\nc\nb\n' }).toString().split('\n').join(' '), spawnSync('sh', ['-c', 'kill -9 $$']).signal);

    const server = http.createServer((q, r) => {
        let n = 0;
        q.on('data', (c) => { n += c.length; });
        q.on('end', () => r.end(JSON.stringify({ url: q.url, n, pad: 'p'.repeat(n % 5000) })));
    });
    await new Promise((done) => server.listen('http.sock', done));
    const get = (i) => new Promise((done, fail) => {
        const q = http.request({ socketPath: 'http.sock', path: '/' + i, method: 'POST' }, (r) => {
            const chunks = [];
            r.on('data', (c) => chunks.push(c)).on('end', () => done(Buffer.concat(chunks)));
        });
        q.on('error', fail);
        q.end('q'.repeat(i * 100));
    });
    log('http', hash(Buffer.concat(await Promise.all([...Array(150).keys()].map(get)))));
    server.close();

    const wasm = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0, 32, 0, 32, 1, 106, 11])));
    log('wasm', wasm.exports.add(40, 2));
    log('vm', vm.runInNewContext('Array.from({length: 1000}, (_, i) => i * n).reduce((a, b) => a + b)', { n: 3 }));
    log('bigint', hash((3n ** 5000n).toString()), new Intl.NumberFormat('de-DE').format(1234567.89), 'Äz'.localeCompare('b', 'sv'));
    class Held { constructor(i) { this.i = i; this.b = Buffer.alloc(100000); } }
    for (let round = 0; round < 20; round++) { const list = []; for (let i = 0; i < 200; i++) list.push(new Held(i)); if (global.gc) global.gc(); }
    try { Buffer.alloc(2 ** 52); } catch (e) { log(e.code); }
    try { new ArrayBuffer(2 ** 50); } catch (e) { log(e.name, e.message); }
    try { JSON.parse('{"a": [1, 2'); } catch (e) { log(e.name); }
    fs.writeFileSync('tmp/maps-node', fs.readFileSync('/proc/self/maps'));
    process.exitCode = 7;
}
main();
JS
status node --expose-gc --max-old-space-size=400 work.js
for name in node worker child; do
    mapped_text "$name" "tmp/maps-$name"
done
status node -e 'null.field' 2>&1 | grep -E '^(TypeError|status)'
status node -e 'process.abort()' 2>/dev/null
status node --check work.js
status node --max-old-space-size=30 -e 'const a = []; for (;;) a.push(Array(1000).fill({}))' 2>&1 | grep -oE '(heap out of memory|status.*)'
node --version | grep -c '^v'
