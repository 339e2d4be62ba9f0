# Modules opened with RTLD_DEEPBIND, which prefer libc's own malloc and free to preloaded ones; php
# opens its extensions so. Blocks cross between them and the rest of the program.
# set: core
# needs: python3
# witness: deepbind
# shellcheck shell=bash

cat >work.py <<'PY'
import os, sys
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
import _bz2, _ctypes, _decimal, _json, _lzma, _sqlite3, readline
db = _sqlite3.connect(':memory:')
db.execute('create table t(a, b)')
for i in range(3000):
    db.execute('insert into t values (?, ?)', (i, 'text %d' % i * 20))
print(db.execute('select count(*), max(b), sum(length(b)) from t').fetchall())
db.close()
print(len(_bz2.BZ2Compressor().compress(b'some text' * 200000)), _decimal.Decimal(7) / 3)
readline.set_history_length(10)
for i in range(100):
    readline.add_history('line %d' % i)
readline.remove_history_item(3)
readline.replace_history_item(5, 'another')
print(readline.get_history_item(6))
readline.clear_history()
with open('/proc/self/maps') as maps, open('tmp/maps', 'w') as out:
    out.write(maps.read())
PY
/usr/bin/python3 work.py
mapped_text deepbind tmp/maps

# Each flag alone, and a library that is absent: what dlopen and dlerror say stays the same.
cat >flags.py <<'PY'
import ctypes, os
for flags in (os.RTLD_LAZY, os.RTLD_NOW, os.RTLD_NOW | os.RTLD_GLOBAL, os.RTLD_NOW | os.RTLD_DEEPBIND):
    lib = ctypes.CDLL('libbz2.so.1.0', mode=flags)
    lib.BZ2_bzlibVersion.restype = ctypes.c_char_p
    print(lib.BZ2_bzlibVersion())
    try:
        ctypes.CDLL('libabsent.so.7', mode=flags)
    except OSError as error:
        print(error)
PY
/usr/bin/python3 flags.py

# The caller's RUNPATH must still be searched: libinner is found only through libouter's.
if command -v gcc >/dev/null; then
    mkdir lib other
    echo 'int inner(void) { return 42; }' | gcc -shared -fPIC -o lib/libinner.so -x c -
    cat >outer.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
char *outer(int flags) {
    void *handle = dlopen("libinner.so", flags);
    if (!handle)
        return strdup(dlerror());
    int (*inner)(void) = (int (*)(void))dlsym(handle, "inner");
    char *text = NULL;
    if (asprintf(&text, "inner says %d", inner()) < 0)
        text = NULL;
    dlclose(handle);
    return text;
}
C
    # shellcheck disable=SC2016 # for the loader to expand
    gcc -shared -fPIC -o other/libouter.so outer.c -Wl,-rpath,'$ORIGIN/../lib',--enable-new-dtags
    cat >main.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    int flags[] = {RTLD_NOW, RTLD_LAZY | RTLD_DEEPBIND, RTLD_NOW | RTLD_DEEPBIND | RTLD_GLOBAL};
    for (int i = 0; i < 3000; i++) {
        void *handle = dlopen("./other/libouter.so", flags[i % 3]);
        if (!handle) {
            puts(dlerror());
            return 1;
        }
        char *(*outer)(int) = (char *(*)(int))dlsym(handle, "outer");
        char *text = outer(flags[i / 3 % 3]);
        if (i < 9)
            puts(text);
        free(text);
        dlclose(handle);
    }
    return 0;
}
C
    gcc -o main main.c
    ./main
fi
