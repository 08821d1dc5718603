// Addresses: their parts, what is refused, where redirects lead, and which file names come out of them.
#include "net/url.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace lathe::net {
namespace {

TEST(Url, Parts) {
  struct Case {
    const char *text, *host, *port, *target;
    bool tls;
  };
  for (const Case& c :
       std::vector<Case>{{"http://a.org", "a.org", "80", "/", false},
                         {"HTTPS://a.org:8443/x/y.gguf?z=1#part", "a.org", "8443", "/x/y.gguf?z=1", true},
                         {"https://a.org?q", "a.org", "443", "/?q", true},
                         {"http://[::1]:80/m", "::1", "80", "/m", false},
                         {"http://[fe80::2]", "fe80::2", "80", "/", false},
                         {"http://a:/x", "a", "80", "/x", false}}) {
    const Url url = parse_url(c.text);
    EXPECT_EQ(url.host, c.host) << c.text;
    EXPECT_EQ(url.port, c.port) << c.text;
    EXPECT_EQ(url.target, c.target) << c.text;
    EXPECT_EQ(url.tls, c.tls) << c.text;
    EXPECT_EQ(parse_url(url.text()).text(), url.text());
  }
}

TEST(Url, WhatIsRefused) {
  for (const char* text : {"", "a.org/x", "ftp://a/b", "http://", "http:///x", "http://:80/", "http://a:x/",
                           "http://a:0/", "http://a:65536/", "http://a:123456/", "http://u:p@a/", "http://a b/",
                           "http://a/\r\nHost: b", "http://[::1/x", "http://[::1]x/", "https://"}) {
    EXPECT_THROW(parse_url(text), UsageError) << text;
  }
}

TEST(Url, Redirects) {
  const Url base = parse_url("https://a.org:444/m/x.gguf?v=1");
  const std::pair<const char*, const char*> cases[] = {
      {"https://b.org/y", "https://b.org/y"},   {"http://b.org", "http://b.org/"},
      {"//c.org/z", "https://c.org/z"},         {"/q?w", "https://a.org:444/q?w"},
      {"y.gguf", "https://a.org:444/m/y.gguf"}, {"n/y.gguf#f", "https://a.org:444/m/n/y.gguf"}};
  for (const auto& [location, expected] : cases) EXPECT_EQ(resolve(base, location).text(), expected) << location;
  EXPECT_THROW(resolve(base, "ftp://x/y"), UsageError);
  EXPECT_THROW(resolve(base, "/a b"), UsageError);
}

TEST(Url, FileNames) {
  const std::pair<const char*, const char*> cases[] = {{"/m/x.gguf", "x.gguf"},
                                                       {"/m/x.gguf?a=/b", "x.gguf"},
                                                       {"/a%20b%2Bc.bin", "a b+c.bin"},
                                                       {"/%zz%4", "%zz%4"},
                                                       {"/", ""},
                                                       {"/m/", ""},
                                                       {"/..", ""},
                                                       {"/.hidden", ""},
                                                       {"/%2e%2e", ""},
                                                       {"/a%2Fb", ""},
                                                       {"/a%00b", ""},
                                                       {"/a%0Ab", ""}};
  for (const auto& [target, expected] : cases)
    EXPECT_EQ(file_name(parse_url(std::string("http://h") + target)), expected) << target;
}

}  // namespace
}  // namespace lathe::net
