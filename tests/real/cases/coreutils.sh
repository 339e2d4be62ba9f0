# coreutils on one table: sort with threads and spill files, joins, splits, sums, listings, copies.
# set: core
# needs: sort sha256sum join split awk
# witness: sort ls sha256sum join split
# limit: 90
# shellcheck shell=bash disable=SC2012,SC2094

rows=$(scale 120000 500000)
awk -v n="$rows" 'BEGIN {
    x = 12345
    for (i = 0; i < n; i++) {
        x = (x * 1103515245 + 12345) % 2147483648
        printf "%d\t%08x\trow %d of the table, %s\n", int(x / 64) % 50000, x, i, substr("some more text to compare", 1, x % 25)
    }
}' >table
sha256sum table

# sort reads the map of its own memory here, split too.
sort /proc/self/maps >tmp/maps
mapped_text sort tmp/maps
split -l 100000 /proc/self/maps tmp/split-maps-
mapped_text split tmp/split-maps-aa
canary ls sha256sum join -- bash -c 'ls / | sha256sum | join - /dev/null'

# Small buffers make sort spill and merge, four threads work on each buffer.
sort -S 2M --parallel=4 -T tmp table >sorted
sort -S 200M --parallel=4 table | cmp - sorted
sort -S 1M --parallel=4 -T tmp --compress-program=gzip -k1,1n -k2,2r table | sha256sum
sort -S 4M --parallel=2 -T tmp -u -k1,1 table | sha256sum
sort -S 8M -t "$(printf '\t')" -k3 -V table | sha256sum
sort -c sorted
status sort -c table
LC_ALL=C sort -m --batch-size=3 sorted sorted sorted sorted | sha256sum

split -n l/7 -d sorted tmp/part-
sha256sum tmp/part-* >sums
sha256sum -c sums
printf x >>tmp/part-03
status sha256sum -c --quiet sums
cat tmp/part-0{0,1,2,4,5,6} | sha512sum
csplit -s -f tmp/cs- -n 3 sorted "$((rows / 3))" '{1}'
wc -lc tmp/cs-*

cut -f1 sorted | uniq -c | sort -k1,1nr -k2,2n | sed -n 1,5p
cut -f1,2 sorted | sort -u -k1,1 >left
cut -f1,3 sorted | sort -u -k1,1 >right
join left right | sha256sum
join -v 1 <(head -5000 left) <(head -4000 right) | wc -l
comm -3 <(head -9000 left | cut -f1) <(tail -n +500 right | cut -f1 | head -9000) | sha256sum
paste -d: left right left | tac | rev | nl -w8 | expand -t5 | fold -w 60 | sha256sum
shuf --random-source=table -n 5000 sorted | sha256sum
tr -s 'a-z ' 'A-Z_' <sorted | od -A x -t x2z | sha256sum
fmt -w 72 sorted | pr -2 -h title -D fixed | b2sum
base64 sorted | base64 -d | cmp - sorted
numfmt --to=iec <<<$'1024\n1048577\n99999999999'
factor 1237940039285380274899124223 340282366920938463463374607431768211455
seq 3000 | awk '{ print $1, ($1 * 7) % 3001 }' | status tsort 2>&1 | sha256sum

mkdir tree
for ((i = 0; i < 40; i++)); do
    mkdir -p "tree/d$i/sub"
    (cd "tree/d$i" && touch f{1..25} sub/g{1..10} && ln -s f1 link)
done
touch -h -d 2020-02-02T02:02:02Z tree/d*/* tree/d*/sub/* tree/d* tree
chmod -R u=rwX,go=rX tree
ls -lR --time-style=full-iso tree | awk '{ $3 = $4 = ""; print }' | sha256sum
cp -a tree copy
diff -r tree copy
ls -U copy | wc -l
du --apparent-size -b -s copy/d1/sub | cut -f2
find tree -name 'g*' -printf '%P %s %m\n' | sort | md5sum
find tree -type f -print0 | xargs -0 -n 50 -P 4 stat -c '%n %s' | sort | sha1sum
tar --sort=name --owner=0 --group=0 --numeric-owner -cf - tree | tee tree.tar | sha256sum
gzip -9n <sorted | gzip -dc | cmp - sorted
xz -T2 -1 --block-size=1MiB <sorted | xz -T2 -dc | cmp - sorted
tar -C tmp -xf tree.tar
diff -r tree tmp/tree
rm -r copy
status ls copy
status cat copy tree
status dd if=/dev/zero bs=1M count=20 of=/dev/full status=none
dd if=/dev/zero bs=64K count=200 status=none | cksum
timeout 20 env -i printf '%s|%5d|%x\n' word 42 255
status timeout 0.05 sleep 10
grep -cE 'row [0-9]*7 of.*(some|more)' table
sed -nE 's/.*row ([0-9]+)5 of the (table).*/\2 \1/p' table | sha256sum
