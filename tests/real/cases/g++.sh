# g++: templates, iostreams, exceptions and threads, compiled and run; a failing instantiation.
# set: core
# needs: g++
# witness: g++ cc1plus program
# limit: 120
# shellcheck shell=bash

cat >heavy.cc <<'CC'
#include <algorithm>
#include <functional>
#include <fstream>
#include <future>
#include <iostream>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <new>
#include <numeric>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

template <unsigned N> struct fib {
    static constexpr unsigned long value = fib<N - 1>::value + fib<N - 2>::value;
};
template <> struct fib<0> { static constexpr unsigned long value = 0; };
template <> struct fib<1> { static constexpr unsigned long value = 1; };

template <typename... Ts> struct overloaded : Ts... { using Ts::operator()...; };
template <typename... Ts> overloaded(Ts...) -> overloaded<Ts...>;

template <std::size_t... I> auto table(std::index_sequence<I...>) {
    return std::map<std::string, std::function<unsigned long(unsigned long)>>{
        {std::to_string(I), [](unsigned long x) { return x * fib<I % 80>::value + I; }}...};
}

struct alignas(64) wide {
    double v[8];
};
struct shape {
    virtual ~shape() = default;
    virtual double area() const = 0;
};
struct square : shape {
    double a;
    explicit square(double x) : a(x) {}
    double area() const override { return a * a; }
};
struct disc : shape {
    double r;
    std::string name;
    explicit disc(double x) : r(x), name(40, 'd') {}
    double area() const override { return 3 * r * r + double(name.size()); }
};

struct per_thread {
    std::vector<std::string> lines;
    ~per_thread() {
        lines.push_back(std::string(100, 'x'));
        lines.clear();
    }
};
thread_local per_thread mine;

using value = std::variant<int, double, std::string, std::vector<int>>;

static int depth(int n) {
    std::string held(std::size_t(n) * 10, 'h');
    if (n == 0)
        throw std::runtime_error("at the bottom, with a text too long to be kept in place");
    return depth(n - 1) + int(held.size());
}

int main(int argc, char **argv) {
    unsigned long sum = 1;
    for (auto &[name, f] : table(std::make_index_sequence<60>{}))
        sum = f(sum) ^ std::hash<std::string>{}(name);
    std::cout << "table " << sum << '\n';

    std::vector<std::unique_ptr<shape>> shapes;
    for (int i = 0; i < 20000; i++)
        if (i % 3)
            shapes.emplace_back(new square(i));
        else
            shapes.push_back(std::make_unique<disc>(i));
    std::sort(shapes.begin(), shapes.end(), [](auto &a, auto &b) { return a->area() > b->area(); });
    std::cout << "shapes "
              << std::accumulate(shapes.begin(), shapes.end(), 0.0,
                                 [](double s, auto &p) { return s / 2 + p->area(); })
              << '\n';

    std::unordered_map<std::string, std::list<value>> words;
    for (int i = 0; i < 40000; i++) {
        auto &l = words["word number " + std::to_string(i % 2500)];
        switch (i % 4) {
        case 0:
            l.emplace_back(i);
            break;
        case 1:
            l.emplace_front(i / 4.0);
            break;
        case 2:
            l.emplace_back("text " + std::to_string(i) + std::string(i % 60u, '.'));
            break;
        default:
            l.emplace_back(std::vector<int>(i % 100u, i));
        }
        if (i % 7 == 0)
            l.pop_front();
    }
    double total = 0;
    for (auto &[word, l] : words)
        for (auto &v : l)
            total +=
                std::visit(overloaded{[](int i) { return double(i); }, [](double d) { return d; },
                                      [](const std::string &s) { return double(s.size()); },
                                      [](const std::vector<int> &x) { return double(x.size()); }},
                           v);
    std::cout << "words " << words.size() << ' ' << std::size_t(total) << '\n';

    std::ostringstream text;
    for (int i = 0; i < 3000; i++)
        text << "name" << i << "@host" << i % 11 << ".org ";
    std::string s = text.str();
    std::regex pattern("(\\w+)@(host[0-9])\\.org");
    std::map<std::string, int> hosts;
    for (std::sregex_iterator it(s.begin(), s.end(), pattern), end; it != end; ++it)
        hosts[(*it)[2]]++;
    for (auto &[host, n] : hosts)
        std::cout << host << '=' << n << ' ';
    std::cout << '\n';

    std::vector<wide> aligned(1000);
    auto one = std::make_unique<wide[]>(77);
    std::cout << "aligned " << reinterpret_cast<std::uintptr_t>(aligned.data()) % 64
              << reinterpret_cast<std::uintptr_t>(one.get()) % 64 << '\n';
    std::pmr::unsynchronized_pool_resource pool;
    std::pmr::map<int, std::pmr::string> pooled(&pool);
    for (int i = 0; i < 5000; i++)
        pooled.emplace(i * 7919 % 10007, "a string that is not short, " + std::to_string(i));
    std::cout << "pooled " << pooled.begin()->second << '\n';

    std::vector<std::future<std::size_t>> futures;
    for (int t = 0; t < 12; t++)
        futures.push_back(std::async(std::launch::async, [t] {
            std::multiset<std::string> set;
            for (int i = 0; i < 4000; i++) {
                mine.lines.push_back(std::to_string(i * t) + " line of a thread's own");
                set.insert(mine.lines[std::size_t(i) / 2]);
            }
            if (t == 7)
                throw std::out_of_range("from thread " + std::to_string(t));
            return set.size() + std::set<std::string>(set.begin(), set.end()).size();
        }));
    for (auto &f : futures)
        try {
            std::cout << f.get() << ' ';
        } catch (const std::exception &e) {
            std::cout << e.what() << ' ';
        }
    std::cout << '\n';

    int caught = 0;
    for (int i = 0; i < 300; i++)
        try {
            depth(i % 60);
        } catch (const std::exception &e) {
            caught += int(std::string(e.what()).size());
        }
    for (std::size_t size : {~std::size_t(0) / 2, std::size_t(1) << 62})
        try {
            std::cout << static_cast<void *>(new char[size]) << '\n';
        } catch (const std::bad_alloc &e) {
            std::cout << e.what() << '\n';
        }
    std::cout << "nothrow " << (new (std::nothrow) char[std::size_t(1) << 60] == nullptr)
              << " caught " << caught << '\n';
    if (argc > 1)
        std::cerr << std::ifstream("/proc/self/maps").rdbuf();
    if (argc > 2)
        throw std::string(argv[2]);
    return 17;
}
CC
canary g++ cc1plus -- bash -c 'echo "#include <string>
std::string s(int n) { return std::string(n, 32); }" | g++ -std=c++17 -c -o tmp/tiny.o -x c++ -'
more=()
[[ $MEMPROF_FULL == 0 ]] || more=('-O0 -g -D_GLIBCXX_DEBUG' '-O3 -flto')
for flags in -O2 "${more[@]}"; do
    # shellcheck disable=SC2086 # several flags
    g++ -std=c++17 $flags -Wall -Wno-alloc-size-larger-than -c -frandom-seed=1 -o heavy.o heavy.cc
    echo "$flags $(sha256sum <heavy.o)"
    g++ -o heavy heavy.o -pthread
    status ./heavy
done
./heavy maps 2>tmp/maps >/dev/null || true
mapped_text program tmp/maps
status ./heavy maps thrown 2>&1 | grep -v ' [r-][w-][x-]p \|memprof-'

cat >wrong.cc <<'CC'
#include <algorithm>
#include <list>
#include <map>
struct key { int a; };
int main() {
    std::list<int> l{3, 1, 2};
    std::sort(l.begin(), l.end());
    std::map<key, int> m;
    m[{1}] = 2;
}
CC
status g++ -std=c++17 -c wrong.cc
status g++ -std=c++17 -fsyntax-only -ftemplate-depth=50 -x c++ - <<'CC'
template <int N> struct deep { static constexpr int v = deep<N - 1>::v; };
template <> struct deep<0> { static constexpr int v = 0; };
int x = deep<100>::v;
CC
