// Every hostile file ends in one error that names the file and the fault, within a second and 200 MB.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include "base/checked.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "engine/runtime.h"
#include "engine/session.h"
#include "formats/load_tokenizer.h"
#include "formats/model_file.h"
#include "hostile/hostile_files.h"
#include "support/data.h"
#include "support/sanitized.h"
#include "text/chat_template.h"

namespace lathe::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr double kSeconds = 1;  // of processor time, so that a busy machine does not matter
constexpr std::uint64_t kBytes = 200'000'000;

// What loading came to, as the child process tells it.
struct Outcome {
  bool crashed = true, foreign = false, accepted = false;  // at most one of them
  std::string message;
  double seconds = 0;
  std::uint64_t bytes = 0;  // by which the resident set grew at most
};

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::uint64_t resident_bytes() {
  std::uint64_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// No more address space than now and this: an allocation without bounds then fails, and shows as std::bad_alloc.
void limit_address_space(std::uint64_t more) {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) + more;
  const rlimit limit{bytes, bytes};
  ::setrlimit(RLIMIT_AS, &limit);
}

void use(const HostileFile& file, const fs::path& path) {
  switch (file.load) {
    case Load::kModel: {
      const formats::ModelFile model = formats::load_model(path);
      engine::Runtime runtime({.cpu = {.threads = 1}, .kv_bytes = 1 << 20});
      const auto session =
          runtime.open(runtime.load(model), model.tokenizer, {.context = 16, .max_batch = 1, .chunk = 8});
      api::GenerateRequest request;
      request.prompt_ids = {1, 2};
      request.max_tokens = 2;
      session->generate(request);
      return;
    }
    case Load::kTokenizer:
      formats::load_tokenizer(path)->encode(std::string(2000, 'a') + "! aa aaab " + std::string(40, 'x'));
      return;
    case Load::kTemplate:
      text::ChatTemplate::parse(read_file(path), path.string()).render({{.role = "user", .content = "hi"}});
  }
}

[[noreturn]] void run_child(const HostileFile& file, const fs::path& path, int pipe) {
  set_log_level(LogLevel::kError);
  if (!test::kSanitized) limit_address_space(400'000'000);
  const std::uint64_t before = resident_bytes();
  const double start = processor_seconds();
  char kind = 'a';
  std::string message;
  try {
    use(file, path);
  } catch (const Error& error) {
    kind = 'e';
    message = error.what();
  } catch (const std::exception& error) {
    kind = 'f';
    message = error.what();
  } catch (...) {
    kind = 'f';
  }
  const std::uint64_t peak = std::max(peak_rss_bytes(), before);
  const std::string report = fmt::format("{} {} {}\n{}", kind, processor_seconds() - start, peak - before, message);
  std::size_t sent = 0;
  while (sent < report.size()) {
    const ssize_t n = ::write(pipe, report.data() + sent, report.size() - sent);
    if (n <= 0) break;
    sent += static_cast<std::size_t>(n);
  }
  ::_exit(0);
}

std::string read_all(int descriptor) {
  std::string text;
  char chunk[4096];
  for (ssize_t n; (n = ::read(descriptor, chunk, sizeof chunk)) > 0;) text.append(chunk, static_cast<std::size_t>(n));
  return text;
}

Outcome outcome_of(const HostileFile& file, const fs::path& path) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  const pid_t child = ::fork();
  if (child == 0) run_child(file, path, ends[1]);
  ::close(ends[1]);
  const std::string report = read_all(ends[0]);
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  Outcome outcome;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || report.empty()) return outcome;
  const std::size_t line = report.find('\n');
  std::istringstream numbers(report.substr(1, line - 1));
  numbers >> outcome.seconds >> outcome.bytes;
  outcome.crashed = false;
  outcome.foreign = report[0] == 'f';
  outcome.accepted = report[0] == 'a';
  outcome.message = report.substr(line + 1);
  return outcome;
}

class Hostile : public testing::TestWithParam<HostileFile> {};

TEST_P(Hostile, EndsInOneGoodError) {
  const HostileFile& file = GetParam();
  const test::TempDir folder;
  file.write(folder.path());
  const Outcome outcome = outcome_of(file, folder / file.file);
  ASSERT_FALSE(outcome.crashed) << "the process died";
  ASSERT_FALSE(outcome.foreign) << "something other than lathe::Error: " << outcome.message;
  ASSERT_FALSE(outcome.accepted) << "accepted without an error";
  EXPECT_NE(outcome.message.find(file.blames), std::string::npos) << outcome.message;
  EXPECT_NE(outcome.message.find(file.fault), std::string::npos) << outcome.message;
  EXPECT_EQ(outcome.message.find('\n'), std::string::npos) << outcome.message;
  if (test::kSanitized) return;
  EXPECT_LT(outcome.seconds, kSeconds);
  EXPECT_LT(outcome.bytes, kBytes);
}

std::string identifier(const std::string& name) {
  std::string out;
  for (const char c : name) out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out;
}

#define LATHE_HOSTILE(Group, function)                                    \
  INSTANTIATE_TEST_SUITE_P(Group, Hostile, testing::ValuesIn(function()), \
                           [](const auto& info) { return identifier(info.param.name); })
LATHE_HOSTILE(GgufHeaders, hostile_gguf_headers);
LATHE_HOSTILE(GgufTranslators, hostile_gguf_translators);
LATHE_HOSTILE(GgufExperts, hostile_gguf_experts);
LATHE_HOSTILE(GgufTensors, hostile_gguf_tensors);
LATHE_HOSTILE(GgufModels, hostile_gguf_models);
LATHE_HOSTILE(GgufVocabularies, hostile_gguf_vocabularies);
LATHE_HOSTILE(Safetensors, hostile_safetensors);
LATHE_HOSTILE(Configs, hostile_configs);
LATHE_HOSTILE(OtherModels, hostile_other_models);
LATHE_HOSTILE(Tokenizers, hostile_tokenizers);
LATHE_HOSTILE(Templates, hostile_templates);

// The same through the program: status 1, nothing on standard output, one line of error on standard error.
TEST(HostileProgram, PrintsOneLineAndExitsWith1) {
  if (!fs::exists(LATHE_PROGRAM)) GTEST_SKIP() << "SKIPPED: the program is not built: " << LATHE_PROGRAM;
  for (const HostileFile& file : all_hostile_files()) {
    if (file.load == Load::kTemplate) continue;
    SCOPED_TRACE(file.name);
    const test::TempDir folder;
    file.write(folder.path());
    const std::string path = (folder / file.file).string(), out = (folder / "out.txt").string(),
                      err = (folder / "err.txt").string();
    const std::string command =
        std::string(LATHE_PROGRAM) +
        (file.load == Load::kModel ? " run -n 2 -t 1 --temp 0 -p ab -m '"
                                   : " tokenize -p aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa! -m '") +
        path + "' >" + out + " 2>" + err + " </dev/null";
    const int status = std::system(command.c_str());
    ASSERT_TRUE(WIFEXITED(status));
    const std::string message = read_file(err);
    EXPECT_EQ(WEXITSTATUS(status), 1) << message;
    // The summary of a model that loads and warnings may stand before it.
    const std::size_t last = message.rfind("error: ");
    ASSERT_NE(last, std::string::npos) << message;
    EXPECT_TRUE(last == 0 || message[last - 1] == '\n') << message;
    EXPECT_EQ(std::count(message.begin() + static_cast<std::ptrdiff_t>(last), message.end(), '\n'), 1) << message;
    EXPECT_TRUE(message.ends_with("\n"));
    EXPECT_EQ(read_file(out), "");
    EXPECT_NE(message.find(file.blames), std::string::npos) << message;
    EXPECT_NE(message.find(file.fault), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace lathe::fuzz
