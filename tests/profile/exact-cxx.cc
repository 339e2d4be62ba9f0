/* C++ for test-exact: new and delete of every form, containers, and blocks that threads hand on;
 * counted by hand through sizes that the standard fixes. FOLDER; the output is exact.c's. */
#include "site.h"

#include <new>
#include <thread>
#include <vector>

extern "C" void ledger_write(const char *path) __attribute__((weak));

/* Large enough for what is counted, and no constructor that would allocate. */
static struct block blocks[4000];
static size_t block_count;

static void note(struct site *site, void *at, size_t size) {
    site_came(site, &blocks[block_count++], at, size);
}

struct item {
    char bytes[56];
};

struct alignas(256) wide {
    char bytes[768];
};

SITE(objects);
IN_SITE(objects) static void do_objects() {
    for (int i = 0; i < 500; i++)
        note(&objects, new item, sizeof(item));
    for (int i = 0; i < 500; i++)
        note(&objects, new wide, sizeof(wide));
    for (size_t i = 0; i < 500; i++)
        note(&objects, new char[i * i + 1], i *i + 1); /* of 0 bytes, libstdc++ makes 1 */
    for (int i = 0; i < 500; i++)
        note(&objects, new (std::nothrow) item, sizeof(item));
    for (size_t i = 0; i < 2000; i += 3) {
        struct block &block = blocks[i];
        site_went(&block);
        if (i < 500)
            delete static_cast<item *>(block.at);
        else if (i < 1000)
            delete static_cast<wide *>(block.at);
        else if (i < 1500)
            delete[] static_cast<char *>(block.at);
        else
            ::operator delete(block.at, std::nothrow);
        block.at = nullptr;
    }
}

/* A vector that reserves has one block. */
SITE(containers);
static std::vector<int> *kept[300];
IN_SITE(containers) static void do_containers() {
    for (size_t i = 0; i < 300; i++) {
        struct block body, buffer;
        kept[i] = new std::vector<int>;
        site_came(&containers, &body, kept[i], sizeof(std::vector<int>));
        kept[i]->reserve(i + 1);
        site_came(&containers, &buffer, kept[i]->data(), (i + 1) * sizeof(int));
        if (i % 2) {
            site_went(&body);
            site_went(&buffer);
            delete kept[i];
        }
    }
}

/* What an exception allocates for itself is not ours to count: it is thrown outside the site. */
static bool fits(size_t size) {
    try {
        ::operator delete(::operator new(size));
        return true;
    } catch (const std::bad_alloc &) {
        return false;
    }
}

SITE(thrown);
IN_SITE(thrown) static void allocate_instead() {
    struct block block;
    site_came(&thrown, &block, ::operator new(100), 100);
}

static void do_thrown() {
    volatile size_t too_much = static_cast<size_t>(PTRDIFF_MAX) - 8192;
    for (int i = 0; i < 20; i++) {
        if (!fits(too_much))
            allocate_instead();
    }
}

SITE(handed_on);
IN_SITE(handed_on) static void allocate_in_thread() {
    for (int i = 0; i < 300; i++)
        note(&handed_on, new item, sizeof(item));
}

static void do_handed_on() {
    size_t first = block_count;
    std::thread(allocate_in_thread).join();
    std::thread([first] {
        for (size_t i = first; i < block_count; i += 2) {
            site_went(&blocks[i]);
            delete static_cast<item *>(blocks[i].at);
        }
    }).join();
}

int main(int argc, char **argv) {
    static char path[4096], ledger[4096];
    if (argc != 2)
        site_die("usage: exact-cxx FOLDER");
    snprintf(path, sizeof path, "%s/cxx.heap", argv[1]);
    snprintf(ledger, sizeof ledger, "%s/ledger", argv[1]);
    do_objects();
    do_containers();
    do_thrown();
    do_handed_on();
    if (ledger_write)
        ledger_write(ledger);
    site_dump(path);
    printf("dump %s\n", path);
    site_print(stdout, &objects);
    site_print(stdout, &containers);
    site_print(stdout, &thrown);
    site_print(stdout, &handed_on);
    return 0;
}
