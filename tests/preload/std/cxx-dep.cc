/*
 * A program linked with a library that has C++ operators of its own (cxxdep.cc).
 */
#include "common.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

static void all_forms() {
    for (int i = 0; i < 1000; i++) {
        delete new int(i);
        delete[] new char[i + 1];
        ::operator delete(::operator new(100), size_t(100));
        ::operator delete[](::operator new[](100));
    }
}

static void containers() {
    std::map<std::string, std::unique_ptr<std::vector<int>>> map;
    for (int i = 0; i < 2000; i++)
        map["a key that is too long to be held within the string " + std::to_string(i)] =
            std::make_unique<std::vector<int>>(i % 50);
    CHECK(map.size() == 2000, "%zu entries", map.size());
}

int main() {
    t_init();
    RUN("every form of new and delete comes to a library's own", all_forms);
    RUN("so do those of containers", containers);
    return t_done();
}
