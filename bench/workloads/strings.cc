// Strings in C++: lines are put together and split into words, words are counted in a hash map and
// indexed in an ordered one, lists of strings are copied, sorted and joined. Most strings are too
// long for the room inside std::string, some are not.
#include <algorithm>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "measure.h"

namespace {

// An estimate of the calls of the malloc family: what a string or container of the library of gcc
// 12 makes for what is done here. The figure serves to see that runs did the same.
long ops;

std::string make_word(rng &r) {
    static const char *const roots[] = {"alloc", "buffer",   "connection", "deadline",
                                        "error", "fragment", "generator",  "handle"};
    std::string word = roots[rng_below(&r, 8)];
    for (uint32_t n = rng_below(&r, 4); n > 0; n--) {
        word += '_';
        word += roots[rng_below(&r, 8)];
    }
    word += std::to_string(rng_below(&r, 1 + rng_below(&r, 3000)));
    ops += word.size() > 15 ? 4 : 0;
    return word;
}

std::string make_line(rng &r) {
    std::string line;
    for (uint32_t n = rng_between(&r, 3, 20); n > 0; n--)
        line += make_word(r) + ' ';
    ops += 10;
    return line;
}

std::vector<std::string> split(const std::string &line) {
    std::vector<std::string> words;
    for (size_t from = 0, to; (to = line.find(' ', from)) != std::string::npos; from = to + 1)
        words.push_back(line.substr(from, to - from));
    ops += 2 * static_cast<long>(words.size());
    return words;
}

std::string join(const std::vector<std::string> &words) {
    std::string line;
    for (const std::string &word : words) {
        line += word;
        line += ", ";
    }
    return line;
}

} // namespace

int main(int argc, char **argv) {
    static bench run;
    bench_start(&run, argc, argv, 0);
    {
        rng r = rng_make(15);
        std::unordered_map<std::string, long> counts;
        std::map<std::string, std::vector<long>> index;
        std::vector<std::string> recent(5000);
        const long lines = bench_scaled(&run, 16000);
        size_t letters = 0;
        for (long i = 0; i < lines; i++) {
            const std::string line = make_line(r);
            std::vector<std::string> words = split(line);
            for (const std::string &word : words) {
                counts[word]++;
                if (word.size() % 3 == 0)
                    index[word].push_back(i);
            }
            std::vector<std::string> sorted = words;
            std::sort(sorted.begin(), sorted.end());
            recent[static_cast<size_t>(i) % recent.size()] = join(sorted);
            letters += recent[rng_below(&r, 5000)].size();
            ops += 2 * static_cast<long>(sorted.size()) + 10;
        }
        bench_hold(&run);
        long sum = 0;
        for (const auto &[word, count] : counts)
            sum += count;
        ops += 4 * static_cast<long>(counts.size() + index.size());
        if (sum < lines || (letters == 0 && lines > 10000))
            bench_die("words were lost");
    }
    return bench_finish(&run, ops);
}
