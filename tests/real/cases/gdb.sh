# gdb, itself preloaded and debugging a preloaded program: symbols, breakpoints, backtraces, Python,
# pretty printers, calls into the program, watchpoints, threads, a core file.
# set: core
# needs: gdb g++
# witness: gdb inferior
# limit: 120
# shellcheck shell=bash disable=SC2016

# A core file may hold what the program has, not what it has reserved.
ulimit -f 200000

cat >prog.cc <<'CC'
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <pthread.h>
#include <string>
#include <vector>

struct node {
    node *next;
    int value;
    std::string name;
};
int counter;
static pthread_barrier_t barrier;

static node *push_node(node *list, int value) {
    node *n = new node{list, value, "node number " + std::to_string(value)};
    counter += value;
    return n;
}

static int total(const node *list) {
    if (!list)
        return 0;
    return list->value + total(list->next);
}

int twice(int x) {
    char *text = strdup("a copy");
    int length = int(strlen(text));
    free(text);
    return x * 2 + length - 6;
}

static void *thread(void *) {
    std::vector<int> mine(100, 7);
    pthread_barrier_wait(&barrier);
    return reinterpret_cast<void *>(mine.size());
}

static void at_end(const std::map<std::string, std::vector<int>> &table, node *list) {
    printf("end %zu %d %d\n", table.size(), counter, total(list));
    if (getenv("CRASH"))
        *static_cast<volatile int *>(nullptr) = 1;
}

int main() {
    node *list = nullptr;
    std::map<std::string, std::vector<int>> table;
    for (int i = 1; i <= 6; i++) {
        list = push_node(list, i);
        table["key" + std::to_string(i)] = std::vector<int>(std::size_t(i), i);
    }
    pthread_barrier_init(&barrier, nullptr, 3);
    pthread_t threads[2];
    for (auto &t : threads)
        pthread_create(&t, nullptr, thread, nullptr);
    pthread_barrier_wait(&barrier);
    for (auto &t : threads)
        pthread_join(t, nullptr);
    at_end(table, list);
    while (list) {
        node *next = list->next;
        delete list;
        list = next;
    }
    return twice(4);
}
CC
g++ -g -O0 -no-pie -fno-inline -std=c++17 -o prog prog.cc -pthread

# Its words without process and thread ids, and without the addresses of libraries and the heap.
debug() {
    status gdb -nx -q -batch -iex 'set auto-load no' -iex 'set debuginfod enabled off' "$@" 2>&1 |
        sed -E 's/\((LWP|process) [0-9]+\)/(ID)/g; s/(LWP|process) [0-9]+/ID/g
            s/Thread 0x[0-9a-f]+/Thread T/; s/0x40[0-9a-f]{4}\>/CODE-&/g
            s/(^|[^-])0x[0-9a-f]{6,}/\1ADDR/g; s/CODE-//g; s/^=> //; s/ {2,}/ /g'
}

cat >steps.gdb <<'GDB'
set width 0
set print thread-events off
set breakpoint pending on
break total if list && list->value == 1
tbreak push_node
run
bt
info args
up
info locals
continue
bt
print *list
print counter
frame 4
print list->next->next->value
frame 6
print table._M_t._M_impl._M_node_count
print *table._M_t._M_impl._M_header._M_parent
print $_strlen("four")
python
# A gdb older than the processor cannot call into the program; then it says so, both times.
for text in ('twice(21)', 'twice(100) + counter'):
    try:
        print(gdb.parse_and_eval(text))
    except gdb.error as error:
        print(error)
end
info breakpoints
delete
finish
break twice
continue
next
next
watch length
continue
info threads
x/2i $pc
disassemble /r twice
info line twice
info sharedlibrary libstdc
ptype node
info types ^node$
python
text = open('/proc/self/maps').read()
open('tmp/maps-gdb', 'w').write(text)
pid = gdb.selected_inferior().pid
open('tmp/maps-inferior', 'w').write(open(f'/proc/{pid}/maps').read())
for i in range(2000):
    value = gdb.parse_and_eval('counter + %d' % i)
print(value, gdb.selected_frame().name(), gdb.lookup_type('node').fields()[2].name)
end
generate-core-file tmp/core
delete
continue
GDB
debug -x steps.gdb ./prog | grep -vE '^(Using host|\[Thread debugging)'
mapped_text gdb tmp/maps-gdb
mapped_text inferior tmp/maps-inferior
debug -ex bt -ex 'info threads' -ex 'print counter' ./prog tmp/core | grep -vE '^(Using host|\[Thread|\[New)'
CRASH=1 debug -ex run -ex bt -ex 'print $_siginfo.si_signo' ./prog | grep -vE '^(Using host|\[Thread|\[New)'
debug -ex 'break absent_function' -ex run -ex 'print absent' ./prog | grep -vE '^(Using host|\[Thread|\[New)'
debug -ex 'info functions -n tot' -ex 'info address counter' -ex 'list total' -ex 'info scope push_node' ./prog
debug ./absent
