// Runs a fuzz target over files instead of invented input: the committed corpus and every input that ever failed.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "test/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  unsigned files = 0;
  for (int i = 1; i < argc; i++) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i], error)) {
      if (entry.path().filename().string().starts_with(".")) continue;
      // Printed first, so that a crash names its input.
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      const std::string input = culvert::test::read_text_file(entry.path());
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
      files++;
    }
    if (error) std::printf("%s: %s\n", argv[i], error.message().c_str());
  }
  std::printf("%u passed, %u failed, 0 skipped\n", files, files == 0 ? 1u : 0u);
  return files == 0 ? 1 : 0;
}
