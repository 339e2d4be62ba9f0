# bash itself: arrays, large strings, subshells, pipes, process substitution and traps.
# set: core
# witness: bash subshell
# shellcheck shell=bash disable=SC2016,SC2030,SC2031,SC2116,SC2154,SC2206

mapped bash $$

numbers=()
count=$(scale 20000 100000)
for ((i = 0; i < count; i++)); do
    numbers[i * 7 % 100003]=$((i * i % 9973))
done
echo "indexed: ${#numbers[@]} last ${numbers[-1]}"
unset 'numbers[7]' 'numbers[14]'
printf '%s\n' "${numbers[@]}" | cksum

declare -A words
for ((i = 0; i < 5000; i++)); do
    words[key$((i % 1999))]+=" $i"
done
for key in "${!words[@]}"; do
    printf '%s=%s\n' "$key" "${words[$key]}"
done | sort | cksum

# A string that grows by realloc, and copies of it.
text=
for ((i = 0; i < 2000; i++)); do
    text+="line $i of a text that grows;"
done
text=$text$text$text$text
text=$text$text$text$text
echo "${#text} ${text: -20}"
start=${text:0:20000}
echo "${start//line/LINE}" | cksum
upper=${start^^}
echo "${#upper}" "${upper%%;*}" "${upper##*;}"
IFS=';' read -r -a parts <<<"$text"
echo "parts ${#parts[@]} ${parts[1999]}"
mapfile -t lines < <(tr ';' '\n' <<<"$text")
echo "lines ${#lines[@]} ${lines[4321]}"

fib() {
    local n=$1
    if ((n < 2)); then
        result=$n
        return
    fi
    fib $((n - 1))
    local a=$result
    fib $((n - 2))
    result=$((a + result))
}
fib 15
echo "fib $result"

deep() {
    if (($1 > 0)); then deep $(($1 - 1)); else echo "bottom of ${#FUNCNAME[@]}"; fi
}
deep 800

for ((i = 0; i < 150; i++)); do
    : "$(echo "${numbers[i]-}" "$(echo nested $i)")"
done
(
    mapped subshell "$BASHPID"
    text=${text:0:1000}
    trap 'echo "subshell ends with ${#text}"' EXIT
    exit 3
) || echo "status $?"

for ((i = 0; i < 20; i++)); do
    (
        mine=(${numbers[@]:i*100:100})
        echo "$i ${#mine[@]} ${mine[*]:0:3}" >"tmp/part-$i"
    ) &
done
wait
cat tmp/part-? tmp/part-1?

coproc both { while read -r line; do echo "<$line>"; done; }
for ((i = 0; i < 100; i++)); do
    echo "$i ${text:i:30}" >&"${both[1]}"
    read -r back <&"${both[0]}"
done
echo "$back"
pid=$both_PID
eval "exec ${both[1]}>&-"
wait "$pid"

trap 'got=$((got + 1))' USR1
got=0
for ((i = 0; i < 50; i++)); do
    kill -USR1 $$
done
echo "signals $got"

[[ $start =~ (line\ 1[0-9]+).*(line\ 3[0-9]9) ]] && echo "${BASH_REMATCH[1]}, ${BASH_REMATCH[2]}"
status bash -c 'x=$(printf "%01000000d" 7); echo ${#x}; exit 42'
status bash -c 'kill -TERM $$'
status bash -c 'echo "${unset?is not set}"'
