"""Several models in one server, opened at need and closed to make room; TLS."""
import json
import pathlib
import socket
import ssl
import subprocess
import tempfile
import unittest

from harness import PROGRAM, Server, ServeTest, TINY_FILE


class Several(ServeTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        path = pathlib.Path(cls.folder.name) / "random.gguf"
        subprocess.run([PROGRAM, "synth", "llama", path, "--layers", "2", "--width", "64", "--heads", "4", "--kv-heads", "2",
                        "--ffn", "128", "--vocab", "512", "--quiet"], check=True)
        cls.MODELS = (f"one={TINY_FILE}", f"two={TINY_FILE}", path)
        size = TINY_FILE.stat().st_size + (2 << 20)
        cls.OPTIONS = ("--kv-memory", "2M", "--memory", str(size + size // 2), "--ctx", "256")
        super().setUpClass()

    def test_models_are_opened_and_closed_by_need(self):
        self.assertEqual([m["id"] for m in self.server.json("GET", "/v1/models")["data"]], ["one", "two", "random"])
        expected = self.complete(model="one", max_tokens=10)
        self.assertEqual([m["model"] for m in self.server.status()["models"]], ["one"])
        second = self.complete(model="two", max_tokens=10)
        self.assertEqual(second["choices"][0]["text"], expected["choices"][0]["text"])
        self.assertEqual([m["model"] for m in self.server.status()["models"]], ["two"])
        self.assertEqual(self.complete(model="one", max_tokens=10)["choices"], expected["choices"])
        self.error("/v1/completions", {"prompt": "a"}, 400, param="model")

    def test_a_model_in_use_is_not_closed(self):
        with self.server.connect() as connection:
            body = json.dumps({"model": "one", "prompt": "Once", "max_tokens": 240, "ignore_eos": True, "stream": True}).encode()
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.recv(100)
            status, headers, answer = self.server.request("POST", "/v1/completions", {"model": "two", "prompt": "a", "max_tokens": 1})
            # The stream may have ended by then on a fast machine; then there is room.
            self.assertIn(status, (200, 503), answer)
            if status == 503:
                self.assertEqual(json.loads(answer)["error"]["code"], "no_memory_for_model")
                self.assertIn("Retry-After", headers)


class Quantized(ServeTest):
    """Files that only Lathe reads: integer groups, and SpQR with columns in an order of their own."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.files = {}
        for name, options in (("int_sym", ("--method", "rtn", "--codec", "INT_SYM", "--bits", "4", "--group", "32")),
                              ("spqr", ("--method", "spqr", "--bits", "4"))):
            cls.files[name] = pathlib.Path(cls.folder.name) / f"{name}.lathe"
            subprocess.run([PROGRAM, "quantize", "tiny", cls.files[name], *options, "--calibration-sequences", "4",
                            "--calibration-tokens", "64", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        cls.MODELS = tuple(f"{name}={path}" for name, path in cls.files.items())
        cls.OPTIONS = ("--ctx", "256")
        super().setUpClass()

    def test_answers_are_those_of_the_files(self):
        answers = set()
        for name, path in self.files.items():
            ran = subprocess.run([PROGRAM, "run", path, "-p", "Once upon a time", "-n", "60", "--temperature", "0", "--json", "--quiet"],
                                 check=True, capture_output=True, text=True)
            answer = self.complete(model=name, max_tokens=60)["choices"][0]["text"]
            self.assertEqual(answer, json.loads(ran.stdout)["text"])
            answers.add(answer)
        self.assertEqual(len(answers), 2)  # each from its own weights

    def test_neighbours_do_not_change_them(self):
        for name in self.files:
            prompts = ["Once upon a time", "The dog", "One day, Tom and Lily went to the park. They"]
            alone = [self.complete(prompt, model=name, max_tokens=40)["choices"][0]["text"] for prompt in prompts]
            together = self.complete(prompts, model=name, max_tokens=40)["choices"]
            self.assertEqual([choice["text"] for choice in sorted(together, key=lambda c: c["index"])], alone)


class Encoder(ServeTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        path = pathlib.Path(cls.folder.name) / "encoder.gguf"
        subprocess.run([PROGRAM, "synth", "bert-tiny", path, "--layers", "2", "--quiet"], check=True)
        cls.MODELS = (path,)
        cls.OPTIONS = ()
        super().setUpClass()

    def test_makes_vectors_and_no_text(self):
        texts = ["the cat sat", "the cat ran away", "a"]
        together = self.server.json("POST", "/v1/embeddings", {"input": texts})["data"]
        for text, item in zip(texts, together):
            alone = self.server.json("POST", "/v1/embeddings", {"input": text})["data"][0]["embedding"]
            self.assertEqual(alone, item["embedding"])
            self.assertAlmostEqual(sum(v * v for v in alone), 1, places=4)
        for path, body in [("/v1/completions", {"prompt": "the cat"}),
                           ("/v1/chat/completions", {"messages": [{"role": "user", "content": "the cat"}]})]:
            status, _, answer = self.server.request("POST", path, body)
            self.assertEqual(status, 400, answer)
            self.assertIn("predicts no tokens", json.loads(answer)["error"]["message"])


class Tls(unittest.TestCase):
    def test_https_only_with_the_certificate(self):
        with tempfile.TemporaryDirectory(prefix="lathe-test-") as folder:
            cert, key = pathlib.Path(folder) / "cert.pem", pathlib.Path(folder) / "key.pem"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                            key, "-out", cert, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                           check=True, capture_output=True)
            server = Server("--tls-cert", cert, "--tls-key", key)
            try:
                self.assertTrue(server.url.startswith("https://"))
                trusted = ssl.create_default_context(cafile=str(cert))
                for _ in range(2):
                    answer = server.json("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 5, "temperature": 0}, context=trusted)
                    self.assertEqual(answer["usage"]["completion_tokens"], 5)
                old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
                old.maximum_version = ssl.TLSVersion.TLSv1_1
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    old.wrap_socket(socket.create_connection(("127.0.0.1", server.port), 10))
                self.assertNotIn(b"200", server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 20))
                self.assertEqual(server.json("GET", "/health", context=trusted), {"status": "ok"})
            finally:
                self.assertEqual(server.stop(), 0)


class BadStarts(unittest.TestCase):
    def fails(self, status, *args, says):
        result = subprocess.run([PROGRAM, "serve", *map(str, args), *([] if "--port" in args else ["--port", "0"])], capture_output=True, timeout=60, text=True)
        self.assertEqual(result.returncode, status, result.stderr)
        self.assertIn(says, result.stderr)

    def test_what_cannot_be_served_is_said(self):
        self.fails(1, "/no/such/model", says="no such file")
        self.fails(2, "tiny", "tiny", says="two models")
        self.fails(2, "--port", "70000", says="--port")
        self.fails(1, "--host", "256.1.1.1.1", says="address")
        self.fails(2, "--tls-cert", TINY_FILE, says="--tls-key")
        self.fails(1, "--tls-cert", TINY_FILE, "--tls-key", TINY_FILE, says="certificate")
        self.fails(1, "--api-key-file", "/dev/null", says="no key")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.fails(1, "--port", taken.getsockname()[1], says="cannot listen")


if __name__ == "__main__":
    unittest.main()
