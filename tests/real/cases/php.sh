# php, whose extensions are opened with RTLD_DEEPBIND: strings, arrays, preg, json, XML, mbstring,
# pictures, SQLite, streams, opcache, with its own heap and with USE_ZEND_ALLOC=0.
# set: core
# needs: php
# witness: php zend-alloc=0 opcache server
# limit: 90
# shellcheck shell=bash disable=SC2016

cat >work.php <<'PHP'
<?php
mt_srand(7);
$n = (int)$argv[1];
function show($name, $value) { echo $name, ' ', strlen($value), ' ', substr(hash('sha256', $value), 0, 16), "\n"; }

$words = [];
for ($i = 0; $i < $n; $i++) {
    $words["key-" . ($i * 7919 % 10007)][] = str_repeat(chr(97 + $i % 26), $i % 50) . $i;
}
ksort($words);
show('json', $json = json_encode($words));
show('back', serialize(json_decode($json, true)));
show('unserialize', var_export(unserialize(serialize($words)) === $words, true));
array_walk($words, function (&$list) { usort($list, fn($a, $b) => strrev($a) <=> strrev($b)); });
show('sorted', implode(',', array_map('end', $words)));
$text = implode(' ', array_merge(...array_values($words)));
show('preg', preg_replace_callback('/(\w)(\d+)\b/', fn($m) => strtoupper($m[1]) . dechex((int)$m[2]), $text));
show('split', implode('|', preg_split('/[aeiou]+/', $text)));
echo 'backtrack ', var_export(@preg_match('/(?:\D+|<\d+>)*[!?]/', str_repeat('foobar ', 50)), true), ' ', preg_last_error_msg(), "\n";
$big = '';
for ($i = 0; $i < 200000; $i++) $big .= "part $i;";
show('big', $big);
show('gz', gzuncompress(gzcompress($big, 9)) . strlen(gzencode($big)));
echo 'crc ', crc32($big), ' ', md5($big), "\n";

class Node { public $peer; public $load; }
for ($i = 0; $i < 20000; $i++) { $a = new Node; $a->peer = new Node; $a->peer->peer = $a; $a->load = range(1, $i % 20 + 1); }
echo 'cycles ', gc_collect_cycles() > 0 ? 'collected' : 'none', "\n";
function numbers($n) { for ($i = 0; $i < $n; $i++) yield "k$i" => str_pad((string)$i, 20); }
echo 'generator ', array_sum(array_map('intval', iterator_to_array(numbers(5000)))), "\n";
try { (function () { throw new DomainException('thrown'); })(); } catch (Exception $e) { echo get_class($e), ' ', $e->getMessage(), "\n"; }
$fiber = new Fiber(function () { $x = str_repeat('f', 1000); $y = Fiber::suspend(strlen($x)); echo "fiber $y\n"; });
echo $fiber->start(), "\n";
$fiber->resume('resumed');

if (extension_loaded('dom')) {
    $doc = new DOMDocument;
    $root = $doc->appendChild($doc->createElement('root'));
    for ($i = 0; $i < 2000; $i++) { $e = $root->appendChild($doc->createElement('item', "text $i")); $e->setAttribute('n', (string)($i % 10)); }
    $xpath = new DOMXPath($doc);
    echo 'xpath ', $xpath->query('//item[@n="3"]')->length, "\n";
    show('xml', $doc->saveXML());
    $simple = simplexml_load_string($doc->saveXML());
    echo 'simplexml ', count($simple->item), ' ', $simple->item[7], "\n";
    libxml_use_internal_errors(true);
    var_dump(simplexml_load_string('<a><b></a>'));
    foreach (libxml_get_errors() as $error) echo trim($error->message), "\n";
    libxml_clear_errors();
}
if (extension_loaded('xsl')) {
    $xsl = new DOMDocument;
    $xsl->loadXML('<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"><xsl:template match="/"><o><xsl:for-each select="//item[position() &lt; 50]"><xsl:sort select="@n"/><v><xsl:value-of select="."/></v></xsl:for-each></o></xsl:template></xsl:stylesheet>');
    $proc = new XSLTProcessor;
    $proc->importStylesheet($xsl);
    show('xslt', $proc->transformToXML($doc));
}
if (extension_loaded('mbstring')) {
    $s = str_repeat('Grüße, Ωμέγα, 漢字; ', 2000);
    echo 'mb ', mb_strlen($s), ' ', md5(mb_strtoupper($s)), ' ', md5(mb_convert_encoding($s, 'UTF-16', 'UTF-8')), "\n";
    mb_regex_encoding('UTF-8');
    echo 'mb_ereg ', md5(mb_ereg_replace('[α-ω]+', '<\\0>', $s)), "\n";
}
if (extension_loaded('intl')) {
    $c = new Collator('de_DE');
    $list = ['Zebra', 'Äpfel', 'apfel', 'Öl', 'ol', 'zug'];
    $c->sort($list);
    echo 'intl ', implode(' ', $list), ' ', (new NumberFormatter('de_DE', NumberFormatter::SPELLOUT))->format(4711), ' ', normalizer_normalize("e\u{301}"), "\n";
}
if (extension_loaded('gd')) {
    $im = imagecreatetruecolor(600, 400);
    for ($i = 0; $i < 300; $i++) imagefilledellipse($im, $i * 2, $i * 37 % 400, 50, 30, imagecolorallocate($im, $i % 256, $i * 3 % 256, $i * 7 % 256));
    $im2 = imagescale(imagerotate($im, 30, 0), 200, 150);
    ob_start();
    imagepng($im2);
    show('png', ob_get_clean());
    ob_start();
    imagejpeg($im);
    show('jpeg', ob_get_clean());
    imagestring($im, 5, 10, 10, 'text', 0xffffff);
}
if (extension_loaded('pdo_sqlite')) {
    $db = new PDO('sqlite::memory:');
    $db->setAttribute(PDO::ATTR_ERRMODE, PDO::ERRMODE_EXCEPTION);
    $db->exec('create table t(id integer primary key, a text, b real)');
    $insert = $db->prepare('insert into t(a, b) values (?, ?)');
    $db->beginTransaction();
    for ($i = 0; $i < 5000; $i++) $insert->execute(["word " . $i % 100, $i / 3]);
    $db->commit();
    show('pdo', json_encode($db->query('select a, count(*), sum(b) from t group by a order by a')->fetchAll(PDO::FETCH_ASSOC)));
    $db->sqliteCreateFunction('twice', fn($x) => $x . $x);
    echo $db->query("select twice(a) from t limit 1")->fetchColumn(), "\n";
    try { $db->query('select * from absent'); } catch (PDOException $e) { echo $e->getMessage(), "\n"; }
    $lite = new SQLite3(':memory:');
    $lite->exec('create table u(x blob)');
    $s = $lite->prepare('insert into u values (:x)');
    for ($i = 0; $i < 300; $i++) { $s->bindValue(':x', random_bytes(10) . str_repeat("\0", $i * 10), SQLITE3_BLOB); $s->execute(); }
    echo 'sqlite3 ', $lite->querySingle('select sum(length(x)) from u'), "\n";
}
echo 'iconv ', md5((string)iconv('UTF-8', 'ISO-8859-1//TRANSLIT', str_repeat('Grüße ', 3000))), "\n";
if (extension_loaded('fileinfo')) {
    echo 'finfo ', (new finfo(FILEINFO_MIME_TYPE))->buffer(gzencode('x')), "\n";
}
if (extension_loaded('ffi')) {
    $c = FFI::cdef('void *malloc(size_t); void *realloc(void *, size_t); void free(void *); char *strdup(const char *); size_t strlen(const char *);');
    for ($i = 0; $i < 500; $i++) { $p = $c->realloc($c->malloc($i), $i * 9 + 1); $c->free($p); $c->free($c->strdup(str_repeat('x', $i))); }
    echo "ffi\n";
}
$p = proc_open(['sort', '-r'], [['pipe', 'r'], ['pipe', 'w']], $pipes);
fwrite($pipes[0], "1\n3\n2\n");
fclose($pipes[0]);
echo str_replace("\n", ' ', stream_get_contents($pipes[1])), proc_close($p), "\n";
echo exec('echo from a shell; exit 4', $out, $code), " $code\n";
copy('/proc/self/maps', $argv[2]);
if (isset($argv[3])) { ini_set('memory_limit', '20M'); $x = []; while (true) $x[] = str_repeat('x', 100000); }
exit(6);
PHP
n=$(scale 20000 80000)
status php -d display_errors=1 work.php "$n" tmp/maps-php | tee said
mapped_text php tmp/maps-php
USE_ZEND_ALLOC=0 status php -d display_errors=1 work.php "$n" tmp/maps-zend | cmp - said
mapped_text zend-alloc=0 tmp/maps-zend
status php -d opcache.enable_cli=1 -d opcache.jit_buffer_size=16M -d opcache.jit=tracing \
    -d opcache.protect_memory=0 work.php "$n" tmp/maps-opcache | cmp - said
mapped_text opcache tmp/maps-opcache
status php -d html_errors=0 work.php 100 tmp/maps-limit limit 2>&1 | tail -n 4
status php -r 'echo strlen(implode(",", get_loaded_extensions())) > 50, "\n"; absent_function();'
status php -r 'function f($n) { return $n ? f($n - 1) . $n : ""; } echo strlen(f(20000)), "\n";'
php -m | sort | cksum

# Its web server, with the requests of several clients; php makes the requests as well.
cat >page.php <<'PHP'
<?php
$all = [];
for ($i = 0; $i < 500; $i++) $all["k$i"] = str_repeat($_GET['x'] ?? 'none', $i % 20);
header('X-Length: ' . strlen(json_encode($all)));
echo md5(json_encode($all)), ' ', strlen(file_get_contents('php://input')), "\n";
PHP
PHP_CLI_SERVER_WORKERS=3 php -S 127.0.0.1:0 page.php >server.log 2>&1 &
server=$!
trap 'kill -9 $server $(pgrep -P $server) 2>/dev/null || true' EXIT
port() {
    sed -nE 's/.*http:\/\/127\.0\.0\.1:([0-9]+)\) started.*/\1/p' server.log | grep -m1 .
}
wait_for port
cat >client.php <<'PHP'
<?php
$answers = [];
for ($i = 0; $i < 40; $i++) {
    $post = stream_context_create(['http' => ['method' => 'POST', 'header' => 'Content-Type: text/plain', 'content' => str_repeat('y', $i * 1000)]]);
    $answers[] = file_get_contents("http://127.0.0.1:$argv[1]/?x=$i", false, $post);
}
echo md5(implode($answers)), ' ', $answers[39];
PHP
php client.php "$(port)" &
php client.php "$(port)"
wait $!
mapped server "$server"
