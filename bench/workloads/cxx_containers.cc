// C++ containers and graphs: lists and deques used as queues, sets and hash maps whose elements
// come and go, a graph of objects held by shared_ptr with weak references back, and virtual objects
// held by unique_ptr in a vector.
#include <cmath>
#include <deque>
#include <list>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "measure.h"

namespace {

// Calls of the malloc family, estimated: one for each element made and one for each destroyed.
long ops;

struct vertex {
    explicit vertex(long number) : id(number) {}
    long id;
    std::vector<std::shared_ptr<vertex>> out;
    std::weak_ptr<vertex> parent;
};

struct shape {
    virtual ~shape() = default;
    virtual double area() const = 0;
};

struct square : shape {
    explicit square(double length) : side(length) {}
    double area() const override { return side * side; }
    double side;
};

struct polygon : shape {
    explicit polygon(size_t corners) : xs(corners, 1.0), ys(corners, 2.0) {}
    double area() const override { return xs.front() * ys.back(); }
    std::vector<double> xs, ys;
};

void queues(long rounds) {
    rng r = rng_make(16);
    std::list<std::pair<long, double>> list;
    std::deque<std::vector<int>> deque;
    long sum = 0;
    for (long i = 0; i < rounds; i++) {
        list.emplace_back(i, 0.5);
        if (list.size() > 20000)
            list.erase(rng_below(&r, 2) != 0 ? list.begin() : std::prev(list.end(), 2));
        deque.emplace_back(rng_between(&r, 1, 60), 7);
        if (deque.size() > 3000) {
            sum += deque.front().front();
            deque.pop_front();
        }
    }
    if (rounds > 3000 && sum != 7 * (rounds - 3000))
        bench_die("a queue lost something");
    ops += 4 * rounds;
}

void sets(long rounds) {
    rng r = rng_make(17);
    std::set<uint32_t> set;
    std::unordered_map<uint32_t, std::vector<uint32_t>> map;
    for (long i = 0; i < rounds; i++) {
        const uint32_t key = rng_below(&r, 20000);
        if (!set.insert(key).second)
            set.erase(key);
        std::vector<uint32_t> &list = map[key % 5000];
        list.push_back(key);
        if (list.size() > 40)
            map.erase(key % 5000);
    }
    ops += 2 * rounds;
}

// Trees of shared vertices: a new one hangs on one that was lately seen, if that still lives, or
// else somewhere below a root; now and then it takes a root's place instead, and what hung there
// goes. Holds most at its end, where it measures.
void graph(bench &run, long vertices) {
    rng r = rng_make(18);
    std::vector<std::shared_ptr<vertex>> roots(400);
    std::vector<std::weak_ptr<vertex>> seen(4096);
    long joined = 0;
    for (std::shared_ptr<vertex> &root : roots)
        root = std::make_shared<vertex>(-1);
    for (long i = 0; i < vertices; i++) {
        auto v = std::make_shared<vertex>(i);
        std::shared_ptr<vertex> parent = seen[rng_below(&r, 4096)].lock();
        if (!parent)
            parent = roots[rng_below(&r, 400)];
        while (parent->out.size() == 12)
            parent = parent->out[rng_below(&r, 12)];
        if (rng_below(&r, 300) != 0) {
            parent->out.push_back(v);
            v->parent = parent;
            joined++;
        } else {
            roots[rng_below(&r, 400)] = v;
        }
        seen[rng_below(&r, 4096)] = v;
    }
    if (joined < vertices / 2)
        bench_die("the graph fell apart");
    ops += 3 * vertices;
    bench_hold(&run);
}

void shapes(long rounds) {
    rng r = rng_make(19);
    std::vector<std::unique_ptr<shape>> all(10000);
    double area = 0;
    for (long i = 0; i < rounds; i++) {
        std::unique_ptr<shape> &place = all[rng_below(&r, 10000)];
        if (place)
            area += place->area();
        if (rng_below(&r, 2) != 0)
            place = std::make_unique<square>(2.0);
        else
            place = std::make_unique<polygon>(rng_between(&r, 3, 30));
    }
    if (!std::isfinite(area))
        bench_die("a shape lost its sides");
    ops += 4 * rounds;
}

} // namespace

int main(int argc, char **argv) {
    static bench run;
    bench_start(&run, argc, argv, 0);
    queues(bench_scaled(&run, 600000));
    sets(bench_scaled(&run, 400000));
    graph(run, bench_scaled(&run, 500000));
    shapes(bench_scaled(&run, 500000));
    return bench_finish(&run, ops);
}
