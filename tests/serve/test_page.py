"""The page's files as HTTP hands them out: types, validators, compression, HEAD, security headers."""
import gzip
import re
import unittest

from harness import ServeTest, http_request


class Page(ServeTest):
    OPTIONS = ("--api-key", "k-test")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.auth = {"Authorization": "Bearer k-test"}
        cls.status, cls.headers, cls.index = cls.server.request("GET", "/")

    def built(self):
        if self.status == 404:
            self.skipTest("SKIPPED: lathe was built without its page (npm could not run)")

    def test_without_the_page_one_line_says_how_to_get_it(self):
        if self.status != 404:
            self.skipTest("this lathe has its page")
        self.assertIn(b"make page", self.index)
        self.assertEqual(self.index.count(b"\n"), 1)

    def test_the_page_and_all_it_names(self):
        self.built()
        self.assertEqual(self.headers["Content-Type"], "text/html; charset=utf-8")
        self.assertEqual(self.headers["Cache-Control"], "no-cache")
        named = re.findall(r'(?:src|href)="([^"]+)"', self.index.decode())
        self.assertEqual(len(named), 3, self.index)
        types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        for path in named:
            status, headers, body = self.server.request("GET", path)
            self.assertEqual((status, headers["Content-Type"]), (200, types[path.rsplit(".", 1)[1]]), path)
            self.assertIn("immutable", headers["Cache-Control"])
            status, compressed, data = self.server.request("GET", path, headers={"Accept-Encoding": "br, gzip;q=0.8"})
            self.assertEqual((status, compressed["Content-Encoding"], gzip.decompress(data)), (200, "gzip", body), path)
            self.assertIsNone(headers["Content-Encoding"])
            for refused in ("gzip;q=0", "identity", "gzipped"):
                self.assertEqual(self.server.request("GET", path, headers={"Accept-Encoding": refused})[2], body, refused)

    def test_what_a_client_has_is_not_sent_again(self):
        self.built()
        tag = self.headers["ETag"]
        for known in (tag, f'"other", W/{tag}'):
            status, headers, body = self.server.request("GET", "/", headers={"If-None-Match": known})
            self.assertEqual((status, body, headers["ETag"]), (304, b"", tag))
        self.assertEqual(self.server.request("GET", "/", headers={"If-None-Match": '"other"'})[0], 200)

    def test_head_is_get_without_the_body(self):
        for path in ("/", "/health", "/v1/none"):
            answer = self.server.raw(http_request("HEAD", path, headers=["Connection: close"]))
            head, _, body = answer.partition(b"\r\n\r\n")
            whole = self.server.raw(http_request("GET", path, headers=["Connection: close"]))
            self.assertEqual(body, b"", path)
            self.assertEqual(head, whole.partition(b"\r\n\r\n")[0], path)

    def test_nothing_of_other_sites_and_nobodys_frame(self):
        policy = self.headers["Content-Security-Policy"]
        self.assertIn("default-src 'self';", policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(self.headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(self.headers["Referrer-Policy"], "no-referrer")
        self.assertNotRegex(self.index, rb'(src|href)="(https?:)?//')

    def test_only_the_page_is_open_without_a_key(self):
        for path in ("/assets/", "/assets/none.js", "/index.html.gz", "/api/status", "/metrics"):
            self.assertEqual(self.server.request("GET", path)[0], 401, path)


if __name__ == "__main__":
    unittest.main()
