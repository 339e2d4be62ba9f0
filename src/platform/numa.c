#include "platform/numa.h"

#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "platform/elf.h"
#include "platform/options.h"
#include "platform/say.h"
#include "platform/sys.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define RSEQ_NODE 20u /* where in struct rseq the kernel keeps the node's number, since 6.3 */

#define NUMBERS    MP_NUMA_NUMBERS
#define NONE       0xffu
#define NODES_MOST (MP_NODES - 1)

/* Of <linux/mempolicy.h>. */
enum { POLICY_DEFAULT = 0, POLICY_PREFERRED = 1, POLICY_INTERLEAVE = 3, POLICY_LOCAL = 4 };
#define POLICY_MODE 0xff /* the rest are flags */

struct set {
    uint64_t bits[NUMBERS / 64];
};

_Atomic(uint32_t) mp_numa_nodes = 1;
static unsigned real_nodes = 1;         /* without that of no node */
static uint16_t numbers[MP_NODES];      /* the kernel's, by ours */
static uint8_t nodes_by[NUMBERS];       /* ours, by the kernel's */
static struct set machine, with_memory; /* nodes that have some; and allowed */
static uintptr_t seeds;                 /* one behind the other; 0: there are none */
static bool interleaved, own_policy;    /* the program's */
/* Where the node's number stands, from the thread pointer on; 0: rseq does not tell. */
static uintptr_t rseq_node;
static int (*getcpu_of_vdso)(unsigned *cpu, unsigned *node, void *unused);

static _Atomic(int32_t) with_policy; /* threads that have one */
static __thread bool has_policy __attribute__((tls_model("initial-exec"))); /* of its own */

#ifdef MP_FAULTS
unsigned (*mp_numa_pretended)(void);
#endif

/* ---- sets of the kernel's numbers ---- */

static bool has(const struct set *set, unsigned number) {
    return set->bits[number / 64] >> (number % 64) & 1;
}

static void add(struct set *set, unsigned number) {
    if (number < NUMBERS)
        set->bits[number / 64] |= (uint64_t)1 << (number % 64);
}

static unsigned count_of(const struct set *set) {
    unsigned count = 0;
    for (unsigned i = 0; i < NUMBERS / 64; i++)
        count += (unsigned)__builtin_popcountll(set->bits[i]);
    return count;
}

static unsigned first_of(const struct set *set) {
    for (unsigned i = 0; i < NUMBERS; i++) {
        if (has(set, i))
            return i;
    }
    return 0;
}

static const char *read_number(const char *at, unsigned *number) {
    for (*number = 0; *at >= '0' && *at <= '9'; at++) {
        if (*number < NUMBERS)
            *number = *number * 10 + (unsigned)(*at - '0');
    }
    return at;
}

/* "0-1,4" */
static struct set parse_list(const char *at) {
    struct set set = {0};
    while (*at >= '0' && *at <= '9') {
        unsigned first, last;
        at = read_number(at, &first);
        last = first;
        if (*at == '-')
            at = read_number(at + 1, &last);
        for (unsigned i = first; i <= last && i < NUMBERS; i++)
            add(&set, i);
        if (*at == ',')
            at++;
    }
    return set;
}

/* ---- what the system says ---- */

/* As much as one read gives: all of these files, or the first lines of a long one. */
static bool read_text(const char *root, const char *path, char *buffer, size_t size) {
    char full[128];
    if (strlen(root) + strlen(path) >= sizeof full)
        return false;
    strcpy(full, root);
    strcpy(full + strlen(root), path);
    long fd = mp_sys_open(full, O_RDONLY, 0);
    if (fd < 0)
        return false;
    long got = mp_sys_read((int)fd, buffer, size - 1);
    mp_sys_close((int)fd);
    buffer[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* What follows "NAME:\t" at the beginning of a line. */
static const char *field(const char *text, const char *name) {
    size_t length = strlen(name);
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        if (strncmp(text, name, length) == 0 && text[length] == ':')
            return text + length + 1 + strspn(text + length + 1, " \t");
    }
    return "";
}

/* The kernel's number of the node where this thread runs. */
static unsigned kernel_node(void) {
    unsigned cpu, node = 0;
#ifdef MP_FAULTS
    if (mp_numa_pretended)
        return mp_numa_pretended();
#endif
    if (rseq_node)
        return *(volatile uint32_t *)(mp_arch_thread_pointer() + rseq_node);
    return getcpu_of_vdso(&cpu, &node, NULL) == 0 ? node : 0;
}

/* Not imported: most starts would have them looked up for nothing. */
static const void *find_symbol(const char *name) {
    const void *found = NULL;
    for (const struct link_map *map = _r_debug.r_map; map && !found; map = map->l_next)
        found = mp_elf_find(map, name);
    return found;
}

/* False: to ask would be a system call each time. */
static bool can_tell_node(void) {
    const uint32_t *size = find_symbol("__rseq_size");
    const ptrdiff_t *offset = find_symbol("__rseq_offset");
    rseq_node = 0;
    if (size && *size > 0 && offset &&
        getauxval(AT_RSEQ_FEATURE_SIZE) >= RSEQ_NODE + sizeof(uint32_t))
        rseq_node = (uintptr_t)*offset + RSEQ_NODE;
    /* ISO C knows no cast of a pointer to data to one to a function. */
    const void *function = find_symbol("__vdso_getcpu");
    memcpy(&getcpu_of_vdso, &function, sizeof function);
    return rseq_node || function;
}

/* The node with memory that is nearest to one without. The distances stand in the order of the
 * nodes that are online. */
static unsigned nearest(const char *root, const struct set *online, unsigned number) {
    char path[64], text[8 * 256];
    struct mp_text name;
    mp_text_init(&name, path, sizeof path);
    mp_text_add(&name, "/sys/devices/system/node/node%u/distance", number);
    unsigned found = 0, least = NUMBERS;
    if (!read_text(root, path, text, sizeof text))
        return 0;
    const char *at = text;
    for (unsigned i = 0; i < NUMBERS && *at; i++) {
        unsigned distance;
        if (!has(online, i))
            continue;
        at = read_number(at + strspn(at, " "), &distance);
        if (distance < least && nodes_by[i] != NONE && has(&with_memory, i)) {
            least = distance;
            found = nodes_by[i];
        }
    }
    return found;
}

/* The node where we are comes first: what was allocated before is from there, most likely. */
static unsigned number_nodes(const char *root) {
    unsigned here = kernel_node() % NUMBERS, count = 0;
    char text[1024];
    struct set online = with_memory;
    if (read_text(root, "/sys/devices/system/node/online", text, sizeof text))
        online = parse_list(text);
    memset(nodes_by, NONE, sizeof nodes_by);
    for (unsigned i = 0; i < NUMBERS; i++) {
        unsigned number = (here + i) % NUMBERS;
        if (!has(&with_memory, number))
            continue;
        nodes_by[number] = (uint8_t)(count % NODES_MOST);
        if (count < NODES_MOST)
            numbers[count] = (uint16_t)number;
        count++;
    }
    for (unsigned i = 0; i < NUMBERS; i++) {
        if (nodes_by[i] == NONE && has(&online, i))
            nodes_by[i] = (uint8_t)nearest(root, &online, i);
    }
    for (unsigned i = 0; i < NUMBERS; i++) {
        if (nodes_by[i] == NONE) /* comes online later, perhaps */
            nodes_by[i] = 0;
    }
    return count < NODES_MOST ? count : NODES_MOST;
}

/* ---- memory that is bound ---- */

bool mp_numa_bind(unsigned node, uintptr_t start, size_t size) {
    struct set one = {0};
    if (interleaved)
        one = with_memory;
    else
        add(&one, numbers[node]);
    return mp_sys_mbind(start, size, interleaved ? POLICY_INTERLEAVE : POLICY_PREFERRED, one.bits,
                        NUMBERS + 1) == 0;
}

/* Can they be moved? Kernels before 5.7 leave nothing behind. */
static bool seeds_work(void) {
    uintptr_t at = mp_sys_mmap(0, 2 * MP_NUMA_SEED, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mp_sys_failed(at))
        return false;
    mp_sys_munmap(at + MP_NUMA_SEED, MP_NUMA_SEED);
    bool works = mp_numa_plant(0, at, 2 * MP_NUMA_SEED);
    mp_sys_munmap(at, works ? 2 * MP_NUMA_SEED : MP_NUMA_SEED);
    return works;
}

/* Without rights: nobody touches them, mlockall does not fill them, and they count for nothing. */
static bool make_seeds(unsigned count) {
    size_t size = count * MP_NUMA_SEED;
    uintptr_t got =
        mp_sys_mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mp_sys_failed(got))
        return false;
    bool bound = true;
    for (unsigned node = 0; node < count; node++)
        bound = bound && mp_numa_bind(node, got + node * MP_NUMA_SEED, MP_NUMA_SEED);
    seeds = got;
    if (bound && seeds_work())
        return true;
    seeds = 0;
    mp_sys_munmap(got, size);
    return false;
}

bool mp_numa_is_interleaved(void) {
    return interleaved;
}

bool mp_numa_is_ordered(void) {
    return interleaved || own_policy;
}

bool mp_numa_has_seed(unsigned node) {
    return seeds != 0 && node < real_nodes;
}

/* What mlockall has locked for the future cannot be had so: a mapping that is moved is not locked
 * by that. Of memory that is locked the kernel takes nothing back, which tells. Rights are given
 * before it grows, so that the growth is charged as memory that can be written. */
bool mp_numa_plant(unsigned node, uintptr_t at, size_t size) {
    uintptr_t seed = seeds + node * MP_NUMA_SEED;
    if (mp_sys_madvise(at, MP_NUMA_SEED, MADV_DONTNEED) != 0)
        return false;
    uintptr_t got = mp_sys_mremap(seed, MP_NUMA_SEED, MP_NUMA_SEED,
                                  MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, at);
    if (mp_sys_failed(got) || mp_sys_mprotect(at, MP_NUMA_SEED, PROT_READ | PROT_WRITE) != 0)
        return false;
    return size == MP_NUMA_SEED || !mp_sys_failed(mp_sys_mremap(at, MP_NUMA_SEED, size, 0, 0));
}

/* ---- start ---- */

/* Not what the library would do anyway. */
static bool is_own(int policy) {
    policy &= POLICY_MODE;
    return policy != POLICY_DEFAULT && policy != POLICY_LOCAL;
}

/* Has the program been started with a policy? Where the call may not be made, the first of its
 * mappings tells: "START default file=...". */
static bool has_own_policy(const char *root, bool filtered) {
    char maps[1024];
    int policy = POLICY_DEFAULT;
    if (!filtered)
        return mp_sys_get_mempolicy(&policy) == 0 && is_own(policy);
    if (!read_text(root, "/proc/self/numa_maps", maps, sizeof maps))
        return false;
    const char *word = maps + strcspn(maps, " \n");
    word += *word == ' ';
    return strncmp(word, "default", 7) != 0 && strncmp(word, "local", 5) != 0;
}

/* Of several nodes with memory: how many to keep apart. */
MP_COLD static unsigned choose(const char *root) {
    char status[4096];
    bool filtered = true; /* if nobody tells */
    if (read_text(root, "/proc/self/status", status, sizeof status)) {
        struct set allowed = parse_list(field(status, "Mems_allowed_list"));
        for (unsigned i = 0; i < NUMBERS / 64 && count_of(&allowed) > 0; i++)
            with_memory.bits[i] &= allowed.bits[i];
        filtered = *field(status, "Seccomp") != '0';
    }
    own_policy = has_own_policy(root, filtered);
    if (own_policy || mp_options.numa == MP_NUMA_OFF || count_of(&with_memory) < 2 ||
        !can_tell_node())
        return 1;
    unsigned count = number_nodes(root);
    interleaved = mp_options.numa == MP_NUMA_INTERLEAVE;
    if (interleaved)
        count = 1;
    if ((filtered || !make_seeds(count)) && interleaved) {
        mp_say("numa=interleave: the system does not let us");
        interleaved = false;
    }
    return count;
}

unsigned mp_numa_start(const char *root) {
    char text[1024];
    if (!read_text(root, "/sys/devices/system/node/has_memory", text, sizeof text))
        return 1;
    machine = with_memory = parse_list(text);
    bool one = text[strcspn(text, "-,")] == 0; /* nearly always */
    real_nodes = one ? 1 : choose(root);
    if (real_nodes == 1)
        numbers[0] = (uint16_t)first_of(&with_memory);
    return real_nodes == 1 ? 1 : real_nodes + 1;
}

void mp_numa_use(unsigned nodes) {
    if (nodes == 1 && !interleaved)
        seeds = 0;
    /* release: who sees the count sees what belongs to it */
    atomic_store_explicit(&mp_numa_nodes, nodes, memory_order_release);
}

/* ---- threads ---- */

static void set_policy(bool own) {
    if (own != has_policy)
        atomic_fetch_add_explicit(&with_policy, own ? 1 : -1, memory_order_relaxed);
    has_policy = own;
}

void mp_numa_note_policy(int policy) {
    set_policy(is_own(policy));
}

void mp_numa_begin_thread(void) {
    set_policy(has_policy || atomic_load_explicit(&with_policy, memory_order_relaxed) > 0);
}

void mp_numa_end_thread(void) {
    set_policy(false);
}

bool mp_numa_is_anywhere(unsigned node) {
    return node == real_nodes;
}

unsigned mp_numa_look(void) {
    return has_policy ? real_nodes : nodes_by[kernel_node() % NUMBERS];
}

uint32_t mp_numa_number(unsigned node) {
    return node < real_nodes ? numbers[node] : UINT32_MAX;
}

uint32_t mp_numa_number_here(void) {
    return numbers[real_nodes == 1 ? 0 : nodes_by[kernel_node() % NUMBERS]];
}

bool mp_numa_is_several(void) {
    return count_of(&machine) > 1;
}

bool mp_numa_is_filtered(const char *root) {
    static char status[4096]; /* in a copy, on whatever stack there was */
    return !read_text(root, "/proc/self/status", status, sizeof status) ||
           *field(status, "Seccomp") != '0';
}

bool mp_numa_has_memory(unsigned number) {
    return has(&machine, number);
}
