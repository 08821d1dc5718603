#include "net/download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/write_all.h"
#include "net/http_request.h"

namespace lathe::net {
namespace {

namespace fs = std::filesystem;
using Fields = std::map<std::string, std::string>;

constexpr int kMostRedirects = 10;
constexpr std::uint64_t kMostSidecar = 4096;

std::uint64_t number_of(std::string_view text, std::uint64_t otherwise) {
  std::uint64_t value = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc{} && stop == text.data() + text.size() ? value : otherwise;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
  return text;
}

// A GET whose redirects have been followed.
std::unique_ptr<HttpRequest> get(Url url, const Fields& fields, const DownloadOptions& options) {
  for (int redirects = 0;; ++redirects) {
    auto answer = std::make_unique<HttpRequest>(url, HttpAsk{.fields = fields}, options.cancel, options.silence);
    const unsigned status = answer->header().status;
    const std::string* location = answer->header().field("location");
    if (status < 300 || status >= 400 || status == 304 || location == nullptr) return answer;
    if (redirects == kMostRedirects) fail(url.text(), "redirects more than {} times", kMostRedirects);
    const Url next = resolve(url, *location);
    if (url.tls && !next.tls)
      fail(url.text(), "redirects from https to {}, which anybody may tamper with", next.text());
    url = next;
  }
}

// What identifies the file behind an address from one connection to the next; empty when the server does not say.
std::string version_of(const HttpHeader& header) {
  const std::string* tag = header.field("etag");
  if (tag != nullptr && !tag->starts_with("W/")) return *tag;
  const std::string* date = header.field("last-modified");
  return date == nullptr ? "" : *date;
}

// `target`.part and, beside it, what it is a part of.
class Part {
 public:
  explicit Part(const fs::path& target) : path_(target.string() + ".part"), info_(target.string() + ".part.json") {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor_ < 0) fail_errno("write");
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      ::close(descriptor_);
      fail(path_.string(), "is being written by another download");
    }
    size_ = static_cast<std::uint64_t>(::lseek(descriptor_, 0, SEEK_END));
    if (size_ == 0) return;
    try {
      const Json info = parse_json(read_file(info_, 1 << 16), info_.string());
      url_ = json_get<std::string>(info, "url", info_.string());
      version_ = json_get<std::string>(info, "version", info_.string());
    } catch (const Error&) {
      restart("", "");  // nobody knows what these bytes are of
    }
  }
  // Nothing is worth keeping of a part without bytes.
  ~Part() {
    if (size_ == 0) remove();
    ::close(descriptor_);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  std::uint64_t size() const { return size_; }
  const std::string& version() const { return version_; }
  bool is_of(const std::string& url) const { return url_ == url && !version_.empty(); }

  // Throws the bytes away; those to come are of that version of that address.
  void restart(const std::string& url, const std::string& version) {
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) != 0) fail_errno("empty");
    size_ = 0;
    url_ = url, version_ = version;
    if (!url.empty()) write_file(info_, Json({{"url", url}, {"version", version}}).dump() + "\n");
  }

  void append(std::span<const char> bytes) {
    if (!write_all(descriptor_, {bytes.data(), bytes.size()})) fail_errno("write");
    size_ += bytes.size();
  }

  void sync() {
    if (::fsync(descriptor_) != 0) fail_errno("write");
  }
  const fs::path& path() const { return path_; }
  void become(const fs::path& target) {
    std::error_code error;
    fs::rename(path_, target, error);
    if (error) fail(target.string(), "cannot be put in place: {}", error.message());
    fs::remove(info_, error);
  }
  void remove() {
    std::error_code ignored;
    fs::remove(path_, ignored);
    fs::remove(info_, ignored);
  }

 private:
  [[noreturn]] void fail_errno(std::string_view action) const {
    const int code = errno;
    throw Error(fmt::format("cannot {}: {}", action, std::strerror(code)), path_.string(),
                code == ENOSPC ? "free some space and run again; it goes on where it stopped" : "");
  }

  fs::path path_, info_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::string url_, version_;
};

void check_room(std::uint64_t total, std::uint64_t done, const Part& part, const DownloadOptions& options) {
  if (total > options.most_bytes) {
    throw Error(fmt::format("has {} bytes, the limit is {}", total, options.most_bytes), part.path().string(),
                "raise --max-size");
  }
  std::error_code unknown;
  const fs::space_info space = fs::space(fs::absolute(part.path()).parent_path(), unknown);
  if (!unknown && total > done && total - done > space.available)
    throw Error(fmt::format("{} bytes are missing, the disk has room for {}", total - done, space.available),
                part.path().string(), "free some space");
}

// One connection's worth; returns whether the file is complete.
bool fetch_more(const Url& url, Part& part, DownloadResult& result, const DownloadOptions& options) {
  const std::string address = url.text();
  Fields fields;
  if (part.size() > 0 && part.is_of(address)) {
    fields["Range"] = fmt::format("bytes={}-", part.size());
    fields["If-Range"] = part.version();
  }
  const auto answer = get(url, fields, options);
  const HttpHeader& header = answer->header();
  const std::string* length = header.field("content-length");
  std::uint64_t total = length == nullptr ? 0 : number_of(*length, 0);
  if (header.status == 206 && !fields.empty()) {
    // "bytes FIRST-LAST/TOTAL"
    const std::string* range = header.field("content-range");
    const std::string expected = fmt::format("bytes {}-", part.size());
    const std::size_t slash = range == nullptr ? std::string::npos : range->find('/');
    if (range == nullptr || !range->starts_with(expected) || slash == std::string::npos)
      fail(address, "answers with another range than was asked for");
    total = number_of(std::string_view(*range).substr(slash + 1), 0);
  } else if (header.status == 416 && !fields.empty()) {
    part.restart(address, "");  // the part is no beginning of what is there now
    return false;
  } else if (header.status == 200) {
    part.restart(address, version_of(header));
  } else {
    throw Error(fmt::format("answers with status {}", header.status), address,
                header.status == 404                           ? "check the address"
                : header.status == 401 || header.status == 403 ? "the server does not give it to everybody"
                                                               : "");
  }
  result.resumed_from = part.size();
  check_room(total, part.size(), part, options);
  for (auto piece = answer->read(); !piece.empty(); piece = answer->read()) {
    part.append(piece);
    if (part.size() > options.most_bytes)
      throw Error(fmt::format("has more than {} bytes, the limit", options.most_bytes), address, "raise --max-size");
    if (options.on_progress) options.on_progress(part.size(), total);
  }
  if (total != 0 && part.size() != total) throw ConnectionError("the body ended early", address);
  return true;
}

struct NamedSum {
  std::string sum, name;
};

// A line of sha256sum ("SUM  name", "SUM *name", "\\SUM  name" for names with escapes, or SUM alone) or of BSD's
// sha256, sha256sum --tag and openssl ("SHA256 (name) = SUM", "SHA2-256(name)= SUM").
std::optional<NamedSum> parse_sum(std::string_view line) {
  constexpr std::string_view kSpaces = " \t\r";
  while (!line.empty() && kSpaces.find(line.back()) != std::string_view::npos) line.remove_suffix(1);
  if (line.starts_with("SHA256") || line.starts_with("SHA2-256")) {
    const std::size_t open = line.find('('), close = line.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) return std::nullopt;
    const std::string_view sum = line.substr(line.find_last_of(" =") + 1);
    if (!is_sha256(sum)) return std::nullopt;
    return NamedSum{lower(std::string(sum)), std::string(line.substr(open + 1, close - open - 1))};
  }
  if (line.starts_with('\\')) line.remove_prefix(1);
  const std::size_t end = std::min(line.find_first_of(" \t*"), line.size());
  if (!is_sha256(line.substr(0, end))) return std::nullopt;
  const std::size_t name = std::min(line.find_first_not_of(" \t*", end), line.size());
  return NamedSum{lower(std::string(line.substr(0, end))), std::string(line.substr(name))};
}

// What a checksum file says of the file `name`: the only sum there is, or the one beside that name; empty when it says
// nothing.
std::string sum_of(std::string_view text, const std::string& name) {
  std::vector<NamedSum> sums;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    if (auto sum = parse_sum(text.substr(begin, end - begin))) sums.push_back(std::move(*sum));
    begin = end + 1;
  }
  if (sums.size() == 1) return sums[0].sum;
  const auto own = std::find_if(sums.begin(), sums.end(), [&](const NamedSum& one) { return one.name == name; });
  return own == sums.end() ? "" : own->sum;
}

// The checksum in URL.sha256; nothing when there is no such file, empty when it is not understood.
std::optional<std::string> sidecar_checksum(const Url& url, const DownloadOptions& options) {
  Url sidecar = url;
  sidecar.target.insert(std::min(sidecar.target.find('?'), sidecar.target.size()), ".sha256");
  try {
    const auto answer = get(sidecar, {}, options);
    if (answer->header().status != 200) return std::nullopt;
    std::string text;
    for (auto piece = answer->read(); !piece.empty() && text.size() < kMostSidecar; piece = answer->read())
      text.append(piece.data(), piece.size());
    return sum_of(text, file_name(url));
  } catch (const ConnectionError& error) {  // speaks of what was asked for, not of what this asked first
    throw ConnectionError(error.problem(), url.text(), error.remedy());
  } catch (const Error& error) {
    if (error.where() != sidecar.text()) throw;
    throw Error(error.problem(), url.text(), error.remedy());
  }
}

void pause(std::chrono::milliseconds time, const CancelToken* cancel) {
  for (const auto end = std::chrono::steady_clock::now() + time; std::chrono::steady_clock::now() < end;) {
    if (cancel != nullptr) cancel->check();
    std::this_thread::sleep_for(std::min(time, std::chrono::milliseconds(50)));
  }
}

// Runs `attempt`, which returns whether it is done, again after connections that broke; those that brought something do
// not count.
template <class Attempt>
void persist(const DownloadOptions& options, const Attempt& attempt, const std::function<std::uint64_t()>& got) {
  int fruitless = 0;
  std::uint64_t before = got();
  for (;;) {
    try {
      if (attempt()) return;
      ++fruitless;
    } catch (const ConnectionError&) {
      fruitless = got() > before ? 1 : fruitless + 1;
      if (fruitless >= options.tries) throw;
      pause(options.pause * (1 << std::min(fruitless - 1, 5)), options.cancel);
    }
    if (fruitless >= options.tries) fail("download", "the server's answers contradict each other");
    before = got();
  }
}

}  // namespace

std::string sha256_of(const fs::path& path, const CancelToken* cancel) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path.string(), "cannot be read: {}", std::strerror(errno));
  bool good = context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  std::vector<char> buffer(std::size_t{1} << 20);
  ::ssize_t count = 0;
  while (good && (count = ::read(descriptor, buffer.data(), buffer.size())) > 0) {
    good = EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(count)) == 1 &&
           (cancel == nullptr || !cancel->cancelled());
  }
  ::close(descriptor);
  if (cancel != nullptr) cancel->check();
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!good || count < 0 || EVP_DigestFinal_ex(context.get(), digest, &size) != 1)
    fail(path.string(), "cannot be read to its end");
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

DownloadResult download(const Url& url, const fs::path& target, const DownloadOptions& options) {
  if (!options.sha256.empty() && !is_sha256(options.sha256))
    throw UsageError(fmt::format("'{}' is no SHA-256 of 64 hexadecimal digits", options.sha256));
  DownloadResult result;
  std::string expected = lower(options.sha256);
  if (expected.empty()) {
    std::optional<std::string> sum;
    persist(
        options, [&] { return sum = sidecar_checksum(url, options), true; }, [] { return std::uint64_t{0}; });
    result.unknown_checksum = sum && sum->empty();
    expected = sum.value_or("");
  }
  Part part(target);
  persist(
      options, [&] { return fetch_more(url, part, result, options); }, [&] { return part.size(); });
  part.sync();
  result.bytes = part.size();
  result.sha256 = sha256_of(part.path(), options.cancel);
  result.checked = !expected.empty();
  if (result.checked && result.sha256 != expected) {
    part.remove();
    throw Error(fmt::format("came with the SHA-256 {}, not {}", result.sha256, expected), url.text(),
                "it was thrown away; try again, or get it elsewhere");
  }
  part.become(target);
  return result;
}

}  // namespace lathe::net
