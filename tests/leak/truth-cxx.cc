// What C++ holds, and loses: containers, pointers that own, closures, exceptions, threads.
// Containers tell the ledger through their allocator, which is the standard's otherwise; of a lost
// one the object, or a part that leads to it, is the one direct leak, so their sites are all
// loop_*.
#include "truth.h"

#include <any>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#define NOINLINE   __attribute__((noinline)) static
#define LEDGER(id) static truth_site id##_site = {#id, 0, 0, false, false, nullptr}
#define LONG_TEXT  "a text that is too long to be in its place"

template <class T> struct counted {
    using value_type = T;
    truth_site *site;

    explicit counted(truth_site *of) : site(of) {}
    template <class U> counted(const counted<U> &other) : site(other.site) {}

    T *allocate(size_t count) {
        truth_came(site, count * sizeof(T));
        return std::allocator<T>().allocate(count);
    }
    void deallocate(T *at, size_t count) {
        truth_went(site, count * sizeof(T));
        std::allocator<T>().deallocate(at, count);
    }
    template <class U> bool operator==(const counted<U> &other) const { return site == other.site; }
    template <class U> bool operator!=(const counted<U> &other) const { return site != other.site; }
};

template <class T> using vector = std::vector<T, counted<T>>;
template <class T> using list = std::list<T, counted<T>>;
template <class T> using deque = std::deque<T, counted<T>>;
template <class T> using set = std::set<T, std::less<T>, counted<T>>;
using text = std::basic_string<char, std::char_traits<char>, counted<char>>;
template <class K, class V>
using map = std::map<K, V, std::less<K>, counted<std::pair<const K, V>>>;
template <class K, class V>
using hashed =
    std::unordered_map<K, V, std::hash<K>, std::equal_to<K>, counted<std::pair<const K, V>>>;

template <class T, class... Arguments> static T *make(truth_site *site, Arguments &&...arguments) {
    truth_came(site, sizeof(T));
    return new T(std::forward<Arguments>(arguments)...);
}

static void *volatile global;
static volatile uintptr_t hidden;

BLOCK(keep_block)
BLOCK(lost_block)

/* ---- containers ---- */

// Where their storage ends, vectors point to, and in a heap without headers that may be where a
// block begins that somebody has lost: these have room left, as the heap sees it.

static void fill(vector<int> *all, truth_site *) {
    all->reserve(501);
    for (int i = 0; i < 500; i++)
        all->push_back(i);
}

static void fill(deque<int> *all, truth_site *) {
    for (int i = 0; i < 5000; i++)
        all->push_back(i);
}

static void fill(list<int> *all, truth_site *) {
    all->assign(500, 7);
}

static void fill(map<int, text> *all, truth_site *site) {
    for (int i = 0; i < 500; i++)
        all->emplace(i * 7919 % 1000, text(LONG_TEXT, counted<char>(site)));
}

static void fill(hashed<int, text> *all, truth_site *site) {
    for (int i = 0; i < 500; i++)
        all->emplace(i, text(LONG_TEXT, counted<char>(site)));
}

static void fill(set<text> *all, truth_site *site) {
    for (char i = 'a'; i <= 'z'; i++)
        all->insert(text(LONG_TEXT, counted<char>(site)) + i);
}

static void fill(text *all, truth_site *) {
    all->assign(1000, 'x');
}

static void fill(vector<vector<int>> *all, truth_site *site) {
    all->reserve(51);
    for (size_t i = 0; i < 50; i++)
        all->emplace_back(4 * i + 1, 0, counted<int>(site));
}

// One lost, and then one held of each. The name of a template's instance would not be the site's.
#define CONTAINER(name, ...)                                                                       \
    LEDGER(keep_##name);                                                                           \
    LEDGER(loop_##name);                                                                           \
    NOINLINE void keep_##name() {                                                                  \
        using type = __VA_ARGS__;                                                                  \
        type *made = make<type>(&keep_##name##_site, type::allocator_type(&keep_##name##_site));   \
        fill(made, &keep_##name##_site);                                                           \
        global = made;                                                                             \
    }                                                                                              \
    NOINLINE void loop_##name() {                                                                  \
        using type = __VA_ARGS__;                                                                  \
        type *made = make<type>(&loop_##name##_site, type::allocator_type(&loop_##name##_site));   \
        fill(made, &loop_##name##_site);                                                           \
    }                                                                                              \
    static void run_##name() {                                                                     \
        truth_make(loop_##name);                                                                   \
        truth_make(keep_##name);                                                                   \
        truth_cycles = 1;                                                                          \
        truth_rest();                                                                              \
    }

CONTAINER(vector, vector<int>)
CONTAINER(vectors, vector<vector<int>>)
CONTAINER(deque, deque<int>)
CONTAINER(linked, list<int>)
CONTAINER(map, map<int, text>)
CONTAINER(hashed, hashed<int, text>)
CONTAINER(set, set<text>)
CONTAINER(string, text)

// In a frame, a variable, and a thread's variable; and moved from one to the other.
LEDGER(keep_places);
static vector<int> in_variable{counted<int>(&keep_places_site)};
static thread_local map<int, text> in_thread{
    counted<std::pair<const int, text>>(&keep_places_site)};
alignas(list<int>) static char in_place[sizeof(list<int>)];

NOINLINE void keep_places() {
    fill(&in_variable, &keep_places_site);
    fill(&in_thread, &keep_places_site);
    fill(new (in_place) list<int>(counted<int>(&keep_places_site)), &keep_places_site);
}

NOINLINE void keep_in_frame(vector<int> *in_frame) {
    vector<int> first{counted<int>(&keep_places_site)};
    fill(&first, &keep_places_site);
    *in_frame = std::move(first);
}

static void run_places() {
    vector<int> in_frame{counted<int>(&keep_places_site)};
    truth_make(keep_places);
    keep_in_frame(&in_frame);
    truth_rest();
}

// They allocate, and give all of it back.
LEDGER(keep_nothing);
NOINLINE void keep_nothing() {
    for (int i = 0; i < 20; i++) {
        map<int, text> all{counted<std::pair<const int, text>>(&keep_nothing_site)};
        hashed<int, text> other{counted<std::pair<const int, text>>(&keep_nothing_site)};
        fill(&all, &keep_nothing_site);
        fill(&other, &keep_nothing_site);
    }
}

NOINLINE void lose_pointed() {
    std::vector<void *> pointers;
    for (size_t i = 0; i < 100; i++)
        pointers.push_back(lost_block(20 + i));
    pointers.clear();
}

static void run_emptied() {
    truth_make(keep_nothing);
    truth_make(lose_pointed);
    truth_rest();
}

/* ---- pointers that own ---- */

struct partner {
    std::shared_ptr<partner> other;
    std::weak_ptr<partner> watched;
    char bytes[40] = {};
};

LEDGER(keep_shared);
LEDGER(loop_shared);
static std::shared_ptr<partner> shared_root;

NOINLINE void keep_shared() {
    auto all = [] { return std::allocate_shared<partner>(counted<partner>(&keep_shared_site)); };
    shared_root = all();
    shared_root->other = all();
    shared_root->other->watched = shared_root;
    // Neither owns the other one: both are gone at the end.
    auto parent = all(), child = all();
    parent->other = child;
    child->watched = parent;
}

NOINLINE void loop_shared() {
    auto all = [] { return std::allocate_shared<partner>(counted<partner>(&loop_shared_site)); };
    auto first = all(), second = all(), third = all();
    first->other = second;
    second->other = third;
    third->other = first;
}

static void run_shared() {
    truth_make(keep_shared);
    truth_make(loop_shared);
    truth_cycles = 1;
    truth_rest();
}

struct item {
    char bytes[56];
};

LEDGER(keep_unique);
LEDGER(lost_unique);
static std::unique_ptr<item> unique_root;

NOINLINE void keep_unique() {
    unique_root.reset(make<item>(&keep_unique_site));
}

NOINLINE void lost_unique() {
    std::unique_ptr<item> owner(make<item>(&lost_unique_site));
    hidden = truth_hide(owner.release());
}

static void run_unique() {
    truth_make(keep_unique);
    truth_make(lost_unique);
    truth_rest();
}

/* ---- objects that are known by their middle ---- */

struct base_one {
    virtual ~base_one() = default;
    char bytes[48];
};
struct base_two {
    virtual ~base_two() = default;
    char bytes[24];
};
struct derived : base_one, base_two {
    char more[16];
};
struct virtual_base : virtual base_one, virtual base_two {
    char more[16];
};
struct with_destructor {
    ~with_destructor() { bytes[0] = 0; }
    char bytes[24];
};
struct alignas(256) wide {
    char bytes[768];
};

LEDGER(keep_objects);
static base_two *volatile second_base, *volatile second_virtual;
static with_destructor *volatile array;
static wide *volatile aligned;

NOINLINE void keep_objects() {
    second_base = make<derived>(&keep_objects_site);
    second_virtual = make<virtual_base>(&keep_objects_site);
    truth_came(&keep_objects_site, sizeof(size_t) + 10 * sizeof(with_destructor));
    array = new with_destructor[10];
    aligned = make<wide>(&keep_objects_site);
}

LEDGER(lost_objects);
NOINLINE void lost_objects() {
    make<derived>(&lost_objects_site);
    make<virtual_base>(&lost_objects_site);
    truth_came(&lost_objects_site, sizeof(size_t) + 10 * sizeof(with_destructor));
    with_destructor *lost = new with_destructor[10];
    hidden = truth_hide(lost);
    make<wide>(&lost_objects_site);
}

static void run_objects() {
    truth_make(keep_objects);
    truth_make(lost_objects);
    truth_rest();
}

/* ---- closures, and what holds anything ---- */

// What is destroyed at exit would lose what it points to: so these never are.
static struct values {
    std::function<int()> closure;
    std::any any;
    std::variant<int, std::vector<void *>> variant;
    std::optional<std::vector<void *>> optional;
    std::exception_ptr pending;
    std::future<std::vector<void *>> asked;
    std::promise<void *> promised;
} * values;

NOINLINE void hold_by_values() {
    std::vector<void *> captured{keep_block(40), keep_block(48)};
    values = new struct values;
    values->closure = [captured] { return static_cast<int>(captured.size()); };
    values->any = std::vector<void *>{keep_block(56)};
    values->variant = std::vector<void *>{keep_block(64)};
    values->optional = std::vector<void *>{keep_block(72)};
}

LEDGER(lost_closure);
LEDGER(lost_behind_closure);
struct captured {
    char bytes[64];
    void *block;
    int operator()() const { return bytes[0]; }
};

NOINLINE void lost_behind_closure(std::function<int()> *into) {
    truth_came(&lost_behind_closure_site, sizeof(captured));
    *into = captured{};
}

NOINLINE std::function<int()> *lost_closure() {
    return make<std::function<int()>>(&lost_closure_site);
}

NOINLINE void lose_closure() {
    lost_behind_closure(lost_closure());
}

static void run_closures() {
    truth_make(hold_by_values);
    truth_make(lose_closure);
    truth_rest();
}

/* ---- exceptions ---- */

struct thrown {
    std::vector<void *> blocks;
};

NOINLINE void throw_blocks() {
    throw thrown{{keep_block(40), keep_block(48)}};
}

static void run_caught() {
    try {
        throw_blocks();
    } catch (const thrown &) {
        truth_rest();
    }
}

// While frames are taken down that the exception passes.
struct rests {
    ~rests() { truth_rest(); }
};

static void run_in_flight() {
    try {
        rests at_the_end;
        throw_blocks();
    } catch (const thrown &) {
        truth_die("the exception was caught");
    }
}

NOINLINE void keep_pending() {
    try {
        throw_blocks();
    } catch (...) {
        values = new struct values;
        values->pending = std::current_exception();
    }
}

static void run_pending() {
    truth_make(keep_pending);
    truth_rest();
}

// What it passes and nobody frees.
NOINLINE void lose_and_throw() {
    void *volatile held = lost_block(40);
    if (held)
        throw 1;
}

NOINLINE void lose_by_throw() {
    for (int i = 0; i < 10; i++) {
        try {
            lose_and_throw();
        } catch (int) {
        }
    }
}

static void run_thrown_past() {
    truth_make(lose_by_throw);
    truth_rest();
}

/* ---- threads ---- */

NOINLINE void start_threads() {
    for (int i = 0; i < 4; i++) {
        auto owner = std::make_unique<std::vector<void *>>();
        owner->push_back(keep_block(40));
        std::thread([owner = std::move(owner)] {
            fill(&in_thread, &keep_places_site);
            truth_started();
            truth_block();
        }).detach();
    }
    truth_await(4);
}

// As keep_places, of each thread.
static void run_thread() {
    truth_make(start_threads);
    truth_rest();
}

NOINLINE void lose_in_thread() {
    void *lost = lost_block(40);
    std::thread([lost] { hidden = truth_hide(lost); }).join();
}

static void run_thread_ended() {
    truth_make(lose_in_thread);
    truth_rest();
}

NOINLINE void ask() {
    values = new struct values;
    values->asked =
        std::async(std::launch::async, [] { return std::vector<void *>{keep_block(40)}; });
    values->asked.wait();
    values->promised.set_value(keep_block(48));
}

static void run_future() {
    truth_make(ask);
    truth_rest();
}

static const truth_case cases[] = {
    {"vector", "a vector is held, and leaked, with what is in it", run_vector},
    {"vectors", "a vector of vectors is held, and leaked, with what is in it", run_vectors},
    {"deque", "a deque is held, and leaked, with what is in it", run_deque},
    {"linked", "a list is held, and leaked, with its nodes", run_linked},
    {"map", "a map of texts is held, and leaked, with its nodes and texts", run_map},
    {"hashed", "a hashed map of texts is held, and leaked, with its nodes and texts", run_hashed},
    {"set", "a set of texts is held, and leaked, with its nodes and texts", run_set},
    {"string", "a long text is held, and leaked", run_string},
    {"places", "containers are held by frames, variables, and threads' variables", run_places},
    {"emptied", "containers that were emptied leak what their pointers owned alone", run_emptied},
    {"shared", "three objects that own each other are leaked", run_shared},
    {"unique", "what was released from its owner is leaked", run_unique},
    {"objects", "objects are held by a base, and arrays by their first element", run_objects},
    {"closures", "closures, any, variant and optional hold what is in them", run_closures},
    {"caught", "an exception that is being handled holds what is in it", run_caught},
    {"in-flight", "an exception on its way holds what is in it", run_in_flight},
    {"pending", "an exception that was put aside holds what is in it", run_pending},
    {"thrown-past", "what an exception has passed that nobody frees is leaked", run_thrown_past},
    {"thread", "a thread's closure holds what is in it, and so do its variables", run_thread},
    {"thread-ended", "what a closure held of a thread that was joined is leaked", run_thread_ended},
    {"future", "results hold what is in them that nobody has asked for", run_future},
};

int main(int argc, char **argv) {
    return truth_main(argc, argv, cases, COUNT(cases));
}
