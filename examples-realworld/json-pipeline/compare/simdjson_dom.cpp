// simdjson_dom FOLDER: the records of all *.json files, by simdjson's DOM parser, on one thread.
// Reads each file whole; the parser and its buffers are used again for every file.
#include <simdjson.h>

#include <cstdio>
#include <filesystem>

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: simdjson_dom FOLDER\n"), 2;
    simdjson::dom::parser parser;
    unsigned long long files = 0, records = 0, bytes = 0;
    for (const auto &entry : std::filesystem::recursive_directory_iterator(argv[1])) {
        if (!entry.is_regular_file() || entry.path().extension() != ".json") continue;
        simdjson::dom::element root;
        if (auto error = parser.load(entry.path().string()).get(root))
            return fprintf(stderr, "%s: %s\n", entry.path().c_str(), simdjson::error_message(error)), 1;
        simdjson::dom::array array;
        records += root.get(array) ? 1 : array.size();
        bytes += entry.file_size();
        files++;
    }
    printf("%llu files: %llu processed, 0 failed; %llu records, %llu bytes\n", files, files, records, bytes);
}
