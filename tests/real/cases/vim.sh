# vim: a script in ex mode and a session driven by keys, with undo, registers, regexes, syntax
# highlighting, folds, jobs, and a file that grows large.
# set: core
# needs: vim
# witness: vim job
# limit: 90
# shellcheck shell=bash

cat >work.vim <<'VIM'
set nocompatible nomore viminfo= noswapfile undolevels=2000 encoding=utf-8 hidden
let g:n = str2nr($LINES_WANTED)
call writefile(readfile('/proc/self/maps'), 'tmp/maps-vim')
call setline(1, map(range(1, g:n), {_, i -> printf('line %d of the text, %s end', i, repeat(nr2char(97 + i % 26), i % 40))}))
%s/\v(\w+) of the (text), (\w)(\w*)/\=toupper(submatch(3)) . strlen(submatch(4)) . ' ' . submatch(1)/
g/7 end$/normal! Ox above
v/end/s/x/y/g
global/5/move 0
sort /\d\+/ n
w! one.txt
1,100yank a
let @b = repeat(@a, 20)
$put b
earlier 3
later 2
undo 2
redo
w! two.txt
normal! ggqqA!jq1000@q
normal! gg100dGu
1,300!sort -r | tail -n 400
%normal! ~w
w! three.txt
set filetype=c
syntax on
%delete
call setline(1, ['#include <stdio.h>', 'int main(void)', '{', 'if (1) { printf("%d", 2); /* c */ }', 'return 0;', '}'])
normal! ggVG=
let names = []
for l in range(1, 6)
    for c in range(1, col([l, '$']) - 1)
        call add(names, synIDattr(synID(l, c, 1), 'name'))
    endfor
endfor
call writefile([join(names, ' ')], 'names.txt')
set foldmethod=indent
normal! zMzR
split two.txt
vsplit three.txt
windo diffthis
call writefile(map(range(1, 50), {_, l -> string(diff_hlID(l, 1))}), 'diff.txt')
only!
tabnew
let d = {}
for i in range(20000)
    let d['key' . i % 997] = get(d, 'key' . i % 997, []) + [i]
endfor
call writefile([json_encode(d)], 'dict.json')
call assert_equal(d, json_decode(readfile('dict.json')[0]))
let parts = matchlist(repeat('abc def ', 2000), '\v(\w+)\s+(\w+)')
call writefile(parts + v:errors + [sha256(string(d)), string(reduce(range(999), {a, b -> a * 31 % 65537 + b}))], 'parts.txt')
let s:out = []
let job = job_start(['/bin/sh', '-c', 'cat /proc/$$/maps >tmp/maps-job; seq 3000'], {'out_cb': {c, m -> add(s:out, m)}, 'close_cb': {c -> execute('let g:closed = 1')}})
let g:closed = 0
while !g:closed
    sleep 5m
endwhile
call writefile([len(s:out) . ' ' . s:out[-1]], 'job.txt')
try
    call absent#function()
catch
    call writefile([v:exception], 'caught.txt')
endtry
let id = timer_start(0, {-> 0})
echo 'said by vim' len(@b)
cquit 5
VIM
export LINES_WANTED
LINES_WANTED=$(scale 4000 12000)
status vim -u NONE -i NONE -n -e -s -S work.vim new.txt 2>&1
echo
mapped_text vim tmp/maps-vim
mapped_text job tmp/maps-job
sha256sum ./*.txt dict.json
cat parts.txt job.txt caught.txt

# Keys, as a terminal would send them.
printf 'ihello wide world\033yy5pgg:%%s/wide/w\303\244ite/g\rGdd:wq! keys.txt\r' >keys
status vim -u NONE -i NONE -n -T dumb --not-a-term -s keys >/dev/null 2>&1
cat keys.txt
status vim -u NONE -i NONE -n -e -s -c 'normal! i' -c 'absentcommand' -c 'qa!' 2>&1
printf '%s\n' c a b >abc
status vim -u NONE -i NONE -n -e -s -c 'sort' -c '%p' -c 'q!' abc
