"""lathe pull against servers of the test's own, well behaved and not; lathe list; models by name; completion scripts."""
import hashlib
import http.server
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import unittest

from harness import PROGRAM, TIMEOUT, TINY_FILE, CliTest

TINY = TINY_FILE.read_bytes()
SUM = hashlib.sha256(TINY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves server.files; the server's attributes say how it misbehaves."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path = self.path.split("?")[0]
        if path not in server.files:
            self.send_error(404)
            return
        data, start = server.files[path], 0
        tag = '"' + hashlib.md5(data).hexdigest() + '"'
        wanted = self.headers.get("Range")
        if wanted and server.ranges and self.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        if server.tags:
            self.send_header("ETag", tag)
        if server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        rest = data[start:]
        if server.cuts and path.endswith(".gguf"):
            server.cuts -= 1
            self.wfile.write(rest[: server.cut_after])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        try:
            for begin in range(0, len(rest), server.piece):
                some = rest[begin : begin + server.piece]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(some), some) if server.chunked else some)
                time.sleep(server.pause)
            if server.chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


class Pulling(CliTest):
    """A model folder of the test's own, and a server whose url() is pulled from."""

    def setUp(self):
        super().setUp()
        self.models = self.folder / "models"
        os.environ["LATHE_MODELS"] = str(self.models)
        self.addCleanup(os.environ.pop, "LATHE_MODELS")
        self.server = self.start_server()

    def start_server(self, context=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.files, server.redirects, server.asked = {"/m/tiny.gguf": TINY}, {}, []
        server.ranges, server.tags, server.chunked, server.cuts, server.cut_after = True, True, False, 0, 300_000
        server.piece, server.pause = 1 << 20, 0
        server.handle_error = lambda *args: None
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def url(self, path="/m/tiny.gguf"):
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    def gguf_requests(self):
        return [asked for asked in self.server.asked if asked[0] == "/m/tiny.gguf"]

    def left_over(self):
        return sorted(path.name for path in self.models.rglob("*") if path.is_file())

    def interrupted(self, how):
        self.server.piece, self.server.pause = 20_000, 0.05
        process = subprocess.Popen([PROGRAM, "pull", self.url(), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        part = self.models / "tiny.gguf.part"
        deadline = time.time() + 60
        while time.time() < deadline and not (part.exists() and part.stat().st_size > 100_000):
            time.sleep(0.01)
        process.send_signal(how)
        output = process.communicate(timeout=TIMEOUT)
        self.assertFalse((self.models / "tiny.gguf").exists())
        self.assertGreater(part.stat().st_size, 100_000)
        self.server.piece, self.server.pause = 1 << 20, 0
        return process.returncode, output


class Pull(Pulling):
    def test_a_pulled_model_has_a_name(self):
        got = self.json("pull", self.url(), "--quiet")
        self.assertEqual((got["name"], got["bytes"], got["sha256"], got["checked"]), ("tiny.gguf", len(TINY), SUM, False))
        self.assertEqual((self.models / "tiny.gguf").read_bytes(), TINY)
        self.assertEqual(self.left_over(), ["tiny.gguf"])
        listed = self.json("list")["models"]
        self.assertEqual([one["name"] for one in listed], ["tiny", "tiny.gguf"])
        self.assertEqual(listed[1]["family"], "llama")
        self.json("pull", self.url(), "--name", "stories/small.gguf", "--quiet")
        by_name = self.json("run", "stories/small", "-p", "Once", "-n", "5", "--temperature", "0", "--quiet")
        with_ending = self.json("run", "stories/small.gguf", "-p", "Once", "-n", "5", "--temperature", "0", "--quiet")
        self.assertEqual(by_name["ids"], with_ending["ids"])
        self.assertEqual(self.json("info", "stories/small")["bytes"], listed[1]["bytes"])
        self.assertTrue(self.json("tokenize", "stories/small", "-p", "Once")["ids"])
        self.fails(1, "info", "stories/smal", says="'stories/small'")
        self.fails(1, "pull", self.url(), "--quiet", says=["already", "--force"])
        self.json("pull", self.url(), "--force", "--quiet")

    def test_checksums(self):
        for given in [SUM, SUM.upper()]:
            self.assertTrue(self.json("pull", self.url(), "--sha256", given, "--force", "--quiet")["checked"])
        self.fails(1, "pull", self.url(), "--name", "bad.gguf", "--sha256", "0" * 64, "--quiet", says=[SUM, "0" * 64])
        self.fails(2, "pull", self.url(), "--name", "bad.gguf", "--sha256", "12", "--quiet", says="SHA-256")
        self.server.files["/m/tiny.gguf.sha256"] = f"{SUM}  tiny.gguf\n".encode()
        self.assertTrue(self.json("pull", self.url("/m/tiny.gguf?x=1"), "--force", "--quiet")["checked"])
        self.server.files["/m/tiny.gguf.sha256"] = b"1" * 64
        self.fails(1, "pull", self.url(), "--name", "bad.gguf", "--quiet", says=[SUM, "1" * 64])
        for written in [f"SHA256 (tiny.gguf) = {SUM}\n", f"SHA2-256(/a/tiny.gguf)= {SUM}\n", f"{SUM} *tiny.gguf\r\n", f"{SUM.upper()}\n",
                        f"\\{SUM}  tiny\\ngguf\n", f"# sums\n{'1' * 64}  other.gguf\n{SUM}  tiny.gguf\n"]:
            self.server.files["/m/tiny.gguf.sha256"] = written.encode()
            result = self.lathe("pull", self.url(), "--force")
            self.assertIn("as it should be", result.stderr, written)
        self.server.files["/m/tiny.gguf.sha256"] = f"SHA256 (tiny.gguf) = {'1' * 64}\n".encode()
        self.fails(1, "pull", self.url(), "--name", "bad.gguf", "--quiet", says=[SUM, "1" * 64])
        for other in [b"<html>no such file, but 200 all the same</html>", b"MD5 (tiny.gguf) = " + b"1" * 32, b"",
                      f"{SUM}  a.gguf\n{SUM}  b.gguf\n".encode(), f"SHA256 tiny.gguf {SUM}".encode()]:
            self.server.files["/m/tiny.gguf.sha256"] = other
            result = self.lathe("pull", self.url(), "--force", "--json")
            self.assertIn('"checked":false', result.stdout.replace(" ", ""))
            self.assertIn(".sha256", result.stderr)
        self.assertEqual(self.left_over(), ["tiny.gguf"])

    def test_broken_connections_are_taken_up(self):
        self.server.cuts = 3
        got = self.json("pull", self.url(), "--sha256", SUM, "--quiet")
        self.assertEqual(got["resumed_from"], 900_000)
        self.assertEqual([asked[1] for asked in self.gguf_requests()],
                         [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"])

    def test_a_server_without_ranges_is_asked_for_all_again(self):
        for ranges, tags in [(False, True), (True, False)]:
            self.server.asked.clear()
            self.server.ranges, self.server.tags, self.server.cuts = ranges, tags, 2
            got = self.json("pull", self.url(), "--sha256", SUM, "--force", "--quiet")
            self.assertEqual(got["resumed_from"], 0)
            self.assertEqual(len(self.gguf_requests()), 3)

    def test_an_interrupted_pull_goes_on(self):
        status, output = self.interrupted(signal.SIGINT)
        self.assertEqual((status, output[0]), (130, b""))
        self.assertGreater(self.json("pull", self.url(), "--sha256", SUM, "--quiet")["resumed_from"], 100_000)
        self.assertEqual(self.left_over(), ["tiny.gguf"])

    def test_a_killed_pull_goes_on_unless_the_file_has_changed(self):
        self.interrupted(signal.SIGKILL)
        self.assertGreater(self.json("pull", self.url(), "--sha256", SUM, "--quiet")["resumed_from"], 100_000)
        (self.models / "tiny.gguf").unlink()
        self.interrupted(signal.SIGKILL)
        other = self.server.files["/m/tiny.gguf"] = bytes(reversed(TINY))
        got = self.json("pull", self.url(), "--quiet")
        self.assertEqual((got["resumed_from"], got["sha256"]), (0, hashlib.sha256(other).hexdigest()))

    def test_redirects(self):
        self.server.redirects = {"/a": "/b?c=1", "/b?c=1": "d/e", "/d/e": self.url(), "/loop": "/loop", "/odd": "ftp://x/y"}
        got = self.json("pull", self.url("/a"), "--name", "far.gguf", "--quiet")
        self.assertEqual(got["sha256"], SUM)
        self.fails(1, "pull", self.url("/loop"), "--name", "x.gguf", "--sha256", SUM, "--quiet", says="redirects")
        self.fails(2, "pull", self.url("/odd"), "--name", "x.gguf", "--sha256", SUM, "--quiet", says="ftp://x/y")

    def test_a_name_that_could_not_be_used_is_refused(self):
        for name, why in [("noend", ".gguf"), ("tiny", "inside the program"), ("a/b/c/d/e/f.gguf", "4 folders"), ("x.part", ".gguf")]:
            self.fails(2, "pull", self.url(), "--name", name, "--quiet", says=[name, why, "--name"])
        self.server.files["/m/plain"] = TINY
        self.fails(2, "pull", self.url("/m/plain"), "--quiet", says=["plain", "--name"])
        self.assertEqual((self.server.asked, self.models.exists()), ([], False))
        for name in ["a/b/c/d/f.gguf", "tok.bin", "hf/config.json"]:
            self.json("pull", self.url(), "--name", name, "--quiet")
        self.assertTrue(self.json("info", "a/b/c/d/f"))

    def test_nothing_empty_is_left(self):
        self.fails(1, "pull", self.url("/none.gguf"), "--quiet", says="404")
        self.fails(1, "pull", self.url(), "--max-size", "100K", "--quiet", says="limit")
        self.assertEqual(self.left_over(), [])

    def test_sizes(self):
        self.fails(1, "pull", self.url(), "--max-size", "100K", "--quiet", says=["limit", "--max-size"])
        self.server.chunked = True
        self.fails(1, "pull", self.url(), "--max-size", "100K", "--quiet", says=["limit", "--max-size"])
        self.assertEqual(self.json("pull", self.url(), "--sha256", SUM, "--force", "--quiet")["bytes"], len(TINY))

    def test_what_cannot_be(self):
        self.fails(1, "pull", self.url("/none.gguf"), "--quiet", says=["404", "none.gguf"])
        self.fails(2, "pull", "ftp://a/b.gguf", says="http")
        self.fails(2, "pull", "http://", says="host")
        self.fails(2, "pull", self.url("/"), says="--name")
        self.fails(2, "pull", self.url("/a%2Fb"), says="--name")
        for name in ["../x.gguf", "/etc/x.gguf", "a/../../x.gguf", ".hidden", ""]:
            self.fails(2, "pull", self.url(), "--name", name, says="name")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            message = self.fails(1, "pull", f"http://127.0.0.1:{port}/a.gguf", "--tries", "1", "--quiet", says=["connect", f":{port}/a.gguf:"])
            self.assertNotIn("sha256", message)
        with socket.create_server(("127.0.0.1", 0)) as odd:
            def answer():
                connection = odd.accept()[0]
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n\r\n")
                connection.close()
            threading.Thread(target=answer, daemon=True).start()
            self.fails(1, "pull", f"http://127.0.0.1:{odd.getsockname()[1]}/a.gguf", "--tries", "2", "--quiet", says="a.gguf")
        (self.models / "file").write_text("no folder")
        self.fails(1, "pull", self.url(), "--name", "file/x.gguf", "--quiet", says="file")


class Authority:
    """A certificate authority of the test's own, by the openssl program: it signs what it is asked to."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
                     "-subj", "/CN=An authority of this test", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self.certificate = folder / "ca.pem"
        for name in ("index.txt", "index.txt.attr"):
            (folder / name).write_text("")
        (folder / "serial").write_text("01")
        (folder / "ca.conf").write_text("[ca]\ndefault_ca=it\n[it]\ndir=.\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\n"
                                        "default_md=sha256\npolicy=any\ncopy_extensions=copy\nunique_subject=no\n[any]\ncommonName=supplied\n")

    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.folder)

    def server_context(self, names, begins=-1, ends=1):
        """Of a server with those names; valid from and to so many days from now."""
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "it.key", "-out", "it.csr", "-subj", "/CN=a server",
                     "-addext", "subjectAltName=" + names)
        begin, end = (time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * days)) for days in (begins, ends))
        self.openssl("ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key", "-in", "it.csr", "-out", "it.pem",
                     "-startdate", begin, "-enddate", end, "-notext")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "it.pem", self.folder / "it.key")
        return context


@unittest.skipUnless(shutil.which("openssl"), "SKIPPED: no openssl program to make certificates with")
class PullTls(Pulling):
    def setUp(self):
        super().setUp()
        self.authority = Authority(self.folder / "authority")
        self.trust(self.authority)

    def trust(self, authority):
        os.environ["SSL_CERT_FILE"] = str(authority.certificate)
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE", None)

    def serve(self, *certificate, **times):
        self.server = self.start_server(self.authority.server_context(*certificate, **times))

    def url(self, host="localhost"):
        return f"https://{host}:{self.server.server_address[1]}/m/tiny.gguf"

    def refused(self, says, host="localhost"):
        """For good, at the first attempt, with nothing asked and nothing left."""
        self.fails(1, "pull", self.url(host), "--force", "--quiet", says=["certificate", self.url(host) + ":", *says])
        self.assertEqual((self.server.asked, self.left_over()), ([], []))

    def test_a_good_certificate(self):
        self.serve("DNS:localhost,IP:127.0.0.1")
        for host in ("localhost", "127.0.0.1"):
            self.assertEqual(self.json("pull", self.url(host), "--force", "--quiet")["sha256"], SUM)

    def test_bad_certificates_are_named(self):
        self.serve("DNS:localhost", ends=-0.5)
        self.refused(["expired", "clock"])
        self.serve("DNS:localhost", begins=0.5)
        self.refused(["not valid yet", "clock"])
        self.serve("DNS:models.example")
        self.refused(["another host than localhost"])
        self.serve("DNS:localhost")  # names and addresses are different things
        self.refused(["another host than 127.0.0.1"], "127.0.0.1")
        self.trust(Authority(self.folder / "stranger"))
        self.refused(["nobody this machine trusts", "SSL_CERT_FILE"])

    def test_a_certificate_that_signed_itself(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.certificate, self.authority.folder / "ca.key")
        self.trust(Authority(self.folder / "stranger"))
        self.server = self.start_server(context)
        self.refused(["nobody this machine trusts"])

    def test_what_is_no_tls(self):
        plain = self.start_server()
        self.fails(1, "pull", f"https://localhost:{plain.server_address[1]}/m/tiny.gguf", "--quiet", says="TLS")

    def test_what_was_interrupted_goes_on(self):
        self.serve("DNS:localhost")
        self.server.cuts = 2  # in the middle, without TLS's goodbye
        got = self.json("pull", self.url(), "--sha256", SUM, "--quiet")
        self.assertEqual(got["resumed_from"], 600_000)
        (self.models / "tiny.gguf").unlink()
        self.interrupted(signal.SIGKILL)
        self.assertGreater(self.json("pull", self.url(), "--sha256", SUM, "--quiet")["resumed_from"], 100_000)
        self.assertEqual(self.left_over(), ["tiny.gguf"])

    def test_a_redirect_to_a_bad_certificate_or_to_plain_http(self):
        self.serve("DNS:localhost")
        good, plain = self.server, Pulling.start_server(self)
        self.serve("DNS:models.example")
        good.redirects = {"/bad": self.url(), "/plain": f"http://127.0.0.1:{plain.server_address[1]}/m/tiny.gguf"}
        start = f"https://localhost:{good.server_address[1]}"
        self.fails(1, "pull", start + "/bad", "--name", "x.gguf", "--sha256", SUM, "--quiet", says=["certificate", "another host"])
        self.fails(1, "pull", start + "/plain", "--name", "x.gguf", "--sha256", SUM, "--quiet", says="tamper")
        self.assertEqual((self.server.asked, plain.asked), ([], []))


class List(CliTest):
    def setUp(self):
        super().setUp()
        os.environ["LATHE_MODELS"] = str(self.folder / "models")
        self.addCleanup(os.environ.pop, "LATHE_MODELS")

    def test_list(self):
        self.assertEqual([one["name"] for one in self.json("list")["models"]], ["tiny"])
        models = self.folder / "models"
        models.mkdir()
        shutil.copy(TINY_FILE, models / "a.gguf")
        self.lathe("convert", "tiny", models / "a.lathe", "--quiet")
        self.lathe("convert", "tiny", models / "org" / "hf", "--quiet")
        (models / "broken.gguf").write_bytes(b"GGUF")
        (models / "notes.txt").write_text("no model")
        listed = {one["name"]: one for one in self.json("list")["models"]}
        self.assertEqual(sorted(listed), ["a.gguf", "a.lathe", "broken", "org/hf", "tiny"])
        self.assertIn("error", listed["broken"])
        for name in ["a.gguf", "a.lathe", "org/hf"]:
            self.assertEqual((listed[name]["family"], listed[name]["parameters"]), ("llama", listed["tiny"]["parameters"]))
        (models / "loop").symlink_to(models)
        (models / "out").symlink_to(self.folder)
        (models / "org" / "up").symlink_to(models / "org")
        elsewhere = self.folder.parent / (self.folder.name + "-elsewhere")
        elsewhere.mkdir()
        self.addCleanup(shutil.rmtree, elsewhere)
        shutil.copy(TINY_FILE, elsewhere / "far.gguf")
        (elsewhere / "back").symlink_to(elsewhere)
        (models / "disk").symlink_to(elsewhere)
        self.assertEqual(self.lathe("list", "--names").stdout.split(), ["tiny", "a.gguf", "a.lathe", "broken", "disk/far", "org/hf"])
        (models / "disk").unlink()
        table = self.lathe("list").stdout
        self.assertIn("cannot be read", table)
        self.assertIn("llama", table)
        self.assertEqual(self.lathe("list", "--names").stdout.split(), ["tiny", "a.gguf", "a.lathe", "broken", "org/hf"])
        same = [self.json("run", name, "-p", "Tom", "-n", "8", "--temperature", "0", "--quiet")["ids"]
                for name in ["tiny", "a.gguf", "a.lathe", "org/hf"]]
        self.assertEqual(same, [same[0]] * 4)


class Completion(CliTest):
    def complete(self, *words):
        script = ('source <("$LATHE" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _lathe; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        if not (folder / "lathe").exists():
            (folder / "lathe").symlink_to(PROGRAM)
        environment = {**os.environ, "LATHE": PROGRAM, "LATHE_MODELS": str(self.folder / "models"),
                       "PATH": f"{folder}:{os.environ['PATH']}"}
        result = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, env=environment,
                                timeout=TIMEOUT, cwd=self.folder)
        self.assertEqual(result.stderr, "")
        return result.stdout.split()

    def test_bash(self):
        models = self.folder / "models"
        models.mkdir()
        shutil.copy(TINY_FILE, models / "story.gguf")
        (self.folder / "strange-file.txt").write_text("")
        self.assertEqual(self.complete("lathe", "tok"), ["tokenize"])
        self.assertIn("--version", self.complete("lathe", "--"))
        self.assertEqual(self.complete("lathe", "run", "--kv-c"), ["--kv-codec"])
        self.assertEqual(self.complete("lathe", "run", "--kv-codec", ""), ["f16", "int8", "f32"])
        self.assertEqual(self.complete("lathe", "embed", "--pooling", "l"), ["last"])
        self.assertIn("story", self.complete("lathe", "run", "st"))
        self.assertIn("strange-file.txt", self.complete("lathe", "run", "-f", "st"))
        self.assertEqual(self.complete("lathe", "run", "--top-k", ""), [])
        self.assertIn("tiny", self.complete("lathe", "run", "-p", "a", "--draft", "t"))
        for inner in ["matmul", "attention", "serve"]:
            self.assertIn(inner, self.complete("lathe", "bench", ""))
        self.assertEqual(self.complete("lathe", "bench", "attention", "--kv-h"), ["--kv-heads"])
        self.assertEqual(self.complete("lathe", "bench", "matmul", "--sh"), ["--shape"])
        self.assertEqual(self.complete("lathe", "bench", "attention", "--rep"), [])
        self.assertEqual(self.complete("lathe", "bench", "model.gguf", "--rep"), ["--repeat"])
        self.assertNotIn("matmul", self.complete("lathe", "bench", "--batch", ""))
        options = self.complete("lathe", "run", "--")
        for option in ["--temperature", "--beams", "--draft", "--json", "--help"]:
            self.assertIn(option, options)
        # Every option that help shows, of every verb.
        for line in self.lathe("--help").stdout.splitlines():
            verb = line.split()[0] if line.startswith("  ") else ""
            if not verb:
                continue
            shown = [word.rstrip(",") for text in self.lathe(verb, "-h").stdout.splitlines()
                     if text.startswith("  -") or text.startswith("      --") for word in text.split()[:2]
                     if word.startswith("-")]
            offered = self.complete("lathe", verb, "-")
            for option in shown:
                self.assertIn(option, offered, verb)

    def test_other_shells(self):
        for shell in ["zsh", "fish"]:
            script = self.lathe("completion", shell).stdout
            for text in ["--kv-codec" if shell == "zsh" else "-l kv-codec", "tokenize", "int8", "attention"]:
                self.assertIn(text, script)
            if shutil.which(shell):
                file = self.folder / f"script.{shell}"
                file.write_text(script)
                subprocess.run([shell, "-n", file], check=True, timeout=TIMEOUT)
        self.fails(2, "completion", "bsh", says="'bash'")
        self.fails(2, "completion", says="SHELL")


if __name__ == "__main__":
    unittest.main()
