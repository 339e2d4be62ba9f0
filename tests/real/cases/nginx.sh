# nginx with two workers on unix sockets: files, gzip, ranges, a proxy to itself with a cache,
# threads for files, uploads, rewrites and sub-requests, reload under load, log reopening, quit.
# set: core
# needs: nginx curl
# witness: master worker reloaded curl
# limit: 120
# shellcheck shell=bash

master=
trap '[[ -z $master ]] || { kill -9 $(children) $master || true; tail -n 20 log/error >&2; }' EXIT
umask 0
mkdir -p www/dir log state cache

children() {
    pgrep -P "$master" || true
}

workers() {
    pgrep -P "$master" -f 'nginx: worker process$' || true
}

fetch() {
    curl --silent --show-error --unix-socket http.sock --max-time 20 "$@"
}

up() {
    fetch -o /dev/null http://test/small.txt
}

user=
[[ $(id -u) -ne 0 ]] || user='user nobody nogroup;'
cat >nginx.conf <<CONF
$user
daemon off;
worker_processes 2;
pid $PWD/state/pid;
error_log $PWD/log/error notice;
thread_pool files threads=3;
events { worker_connections 200; }
http {
    types { text/html html; text/plain txt; application/octet-stream bin; }
    default_type text/plain;
    access_log $PWD/log/access;
    root $PWD/www;
    client_body_temp_path $PWD/state/body;
    proxy_temp_path $PWD/state/proxy;
    fastcgi_temp_path $PWD/state/fastcgi;
    uwsgi_temp_path $PWD/state/uwsgi;
    scgi_temp_path $PWD/state/scgi;
    proxy_cache_path $PWD/cache levels=1:2 keys_zone=zone:1m max_size=20m;
    client_max_body_size 20m;
    server_tokens off;
    gzip on;
    gzip_types text/plain application/octet-stream;
    gzip_min_length 100;
    gzip_proxied any;
    map \$arg_colour \$shade { default grey; ~^r red; blue azure; }
    limit_req_zone \$uri zone=slow:1m rate=1r/m;
    upstream self { server unix:$PWD/back.sock; keepalive 4; }
    server {
        listen unix:$PWD/http.sock;
        location / { aio threads=files; sendfile on; index index.html; }
        location /plain/ { alias $PWD/www/; gzip off; directio 64k; output_buffers 2 32k; aio threads=files; }
        location /list/ { alias $PWD/www/dir/; autoindex on; autoindex_format json; }
        location /proxy/ {
            proxy_pass http://self/; proxy_cache zone; proxy_cache_valid 200 10m;
            proxy_http_version 1.1; proxy_set_header Connection "";
            add_header X-Cache \$upstream_cache_status;
        }
        location /post { proxy_pass http://self/echo; proxy_http_version 1.1; proxy_set_header Connection ""; }
        location ~ ^/re/(?<name>[a-z]+)/(\d+)\$ { return 200 "\$name=\$2 \$shade \$args\n"; }
        location /old { rewrite ^/old/(.*)\$ /re/\$1?x=\$http_x_long last; }
        location /limited { limit_req zone=slow burst=1 nodelay; alias $PWD/www/small.txt; }
        location /sub { sub_filter_types *; sub_filter 'line' 'LINE'; sub_filter_once off; alias $PWD/www/small.txt; }
        location /add { add_before_body /small.txt; addition_types *; alias $PWD/www/dir/; }
        location /dead { proxy_pass http://unix:$PWD/absent.sock; }
        location = /status { stub_status; }
    }
    server {
        listen unix:$PWD/back.sock;
        location /echo { client_body_in_single_buffer on; client_body_buffer_size 16m; proxy_pass http://unix:$PWD/back.sock:/length; }
        location /length { return 200 "\$content_length \$request_method\n"; }
        location / { gzip off; }
    }
}
CONF
seq -f 'line %g' 40 >www/small.txt
seq -f 'line %g of a larger file that is compressed' 60000 >www/large.txt
head -c 9000000 www/large.txt >www/blob.bin
echo '<html>index</html>' >www/index.html
for ((i = 0; i < 50; i++)); do
    echo "$i" >"www/dir/$i.txt"
done
find www -exec touch -d 2022-02-02T02:02:02Z {} +

nginx -p . -c nginx.conf -e log/error -t 2>&1 | sed 's/.*conf/conf/'
nginx -p . -c nginx.conf -e log/error &
master=$!
wait_for up
mapped master "$master"
mapped worker "$(workers | head -n 1)"
canary curl -- curl --version >/dev/null

# Headers in their order, without what the clock says.
show() {
    : >tmp/body
    fetch -D tmp/head -o tmp/body "$@"
    tr -d '\r' <tmp/head | grep -vE '^Date:'
    sed '/^Date:/d' tmp/body | sha256sum
}

show http://test/small.txt
show http://test/
show --compressed http://test/large.txt
show -H 'Accept-Encoding: gzip' http://test/large.txt
show -r 100-299,5000-5100,-50 http://test/large.txt | sed 's/=[0-9]\{20\}$/=boundary/;$d'
show http://test/plain/blob.bin
show -H 'If-Modified-Since: Wed, 02 Feb 2022 02:02:02 GMT' http://test/small.txt
show http://test/absent
show -X DELETE http://test/small.txt
show -I http://test/large.txt
show http://test/list/
for ((i = 0; i < 3; i++)); do
    show http://test/proxy/large.txt
done
show -H 'X-Long: '"$(printf '%03000d' 1)" 'http://test/old/abc/123?colour=red'
show 'http://test/re/word/7?colour=blue'
show -H "X-Too-Long: $(printf '%040000d' 1)" http://test/
show http://test/sub
show http://test/add/7.txt
show http://test/dead
show --data-binary @www/blob.bin http://test/post
show -H 'Transfer-Encoding: chunked' --data-binary @www/large.txt http://test/post
for ((i = 0; i < 4; i++)); do
    fetch -o /dev/null -w '%{http_code} ' http://test/limited
done
echo

# Load from several clients, with a reload in the middle: no answer may be lost or torn.
load() {
    local i urls=()
    for ((i = 0; i < 60; i++)); do
        urls+=(-o /dev/null "http://test/dir/$((i % 50)).txt" -o /dev/null http://test/proxy/large.txt
            -o /dev/null "http://test/re/x/$i")
    done
    fetch --compressed -w '%{http_code}\n' "${urls[@]}"
}
for ((c = 0; c < 5; c++)); do
    load >"tmp/load-$c" &
    loads[c]=$!
done
old=$(workers)
kill -HUP "$master"
wait "${loads[@]}"
sort tmp/load-? | uniq -c
replaced() {
    local pid
    for pid in $old; do
        ! kill -0 "$pid" || return 1
    done
    [[ $(workers | wc -l) == 2 ]]
}
wait_for replaced
mapped reloaded "$(workers | tail -n 1)"
load | sort | uniq -c
show http://test/proxy/small.txt
mv log/access log/access.1
kill -USR1 "$master"
wait_for test -e log/access
up
# A worker that dies is replaced.
kill -9 "$(workers | head -n 1)"
old=
wait_for replaced
load | sort | uniq -c
fetch http://test/status | sed 's/[0-9]\+/N/g'
cat log/access.1 log/access | awk '{ print $6, $7, $9 }' | grep -v small | sort | uniq -c | sha256sum
kill -QUIT "$master"
status wait "$master"
master=
grep -oE '\[(emerg|alert|crit)\].*' log/error | sed 's/[0-9]\+/N/g' | sort | uniq -c
grep -c 'exited with code 0' log/error >/dev/null && echo 'workers exited with code 0'
nginx -p . -c absent.conf -e log/error -t 2>&1 | sed "s|$PWD||;s/^.*nginx: //" || true
