// simdjson_ondemand FOLDER: the records of all *.json files, by simdjson's On Demand interface.
// It checks only what it walks over: an unclosed string is found, a bad number inside a record not.
#include <simdjson.h>

#include <cstdio>
#include <filesystem>

using namespace simdjson;

int main(int argc, char **argv) {
    if (argc != 2) return fprintf(stderr, "usage: simdjson_ondemand FOLDER\n"), 2;
    ondemand::parser parser;
    unsigned long long files = 0, records = 0, bytes = 0;
    for (const auto &entry : std::filesystem::recursive_directory_iterator(argv[1])) {
        if (!entry.is_regular_file() || entry.path().extension() != ".json") continue;
        try {
            padded_string text = padded_string::load(entry.path().string());
            ondemand::document document = parser.iterate(text);
            size_t count = 1;
            if (document.type() == ondemand::json_type::array) count = document.count_elements();
            records += count;
            bytes += text.size();
            files++;
        } catch (const simdjson_error &error) {
            return fprintf(stderr, "%s: %s\n", entry.path().c_str(), error.what()), 1;
        }
    }
    printf("%llu files: %llu processed, 0 failed; %llu records, %llu bytes\n", files, files, records, bytes);
}
