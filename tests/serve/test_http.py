"""The HTTP layer: routes, malformed requests, limits, time-outs, keys, hosts, slow and vanishing clients, draining."""
import json
import signal
import socket
import threading
import time
import unittest

from harness import Server, ServeTest, http_request, read_answer


class Routes(ServeTest):
    def test_health_models_and_metrics(self):
        self.assertEqual(self.server.json("GET", "/health"), {"status": "ok"})
        models = self.server.json("GET", "/v1/models")
        self.assertEqual([m["id"] for m in models["data"]], ["tiny"])
        self.assertEqual(self.server.json("GET", "/v1/models/tiny")["id"], "tiny")
        self.server.json("GET", "/v1/models/none", status=404)
        self.complete(max_tokens=4)
        before, _ = self.figures()
        self.complete(max_tokens=4)
        figures, lines = self.figures()
        for name, more in (('lathe_requests_total{route="/v1/completions",status="200"}', 1),
                           ("lathe_first_token_seconds_count", 1), ("lathe_request_generated_tokens_total", 4)):
            self.assertEqual(int(figures[name]) - int(before[name]), more, name)
        self.assertGreater(int(figures['lathe_kv_blocks_total{model="tiny"}']), 0)
        for line in lines:  # every line of the format: a comment, or a name with labels and a number
            if not line.startswith("#"):
                float(line.rsplit(" ", 1)[1])

    def figures(self):
        status, headers, text = self.server.request("GET", "/metrics")
        self.assertEqual(status, 200)
        self.assertTrue(headers["Content-Type"].startswith("text/plain"))
        lines = text.decode().splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#")), lines

    def test_unknown_paths_and_methods(self):
        for method, path, status in (("GET", "/../etc/passwd", 404), ("GET", "/assets/../assets/", 404), ("GET", "/assets/%2e%2e/", 404), ("GET", "/v1/none", 404),
                                     ("GET", "/v1/completions", 405), ("POST", "/health", 405),
                                     ("DELETE", "/v1/models", 405), ("OPTIONS", "/v1/models", 405)):
            got, headers, body = self.server.request(method, path)
            self.assertEqual(got, status, (method, path))
            self.assertIn("message", json.loads(body)["error"])
            self.assertNotIn("Access-Control-Allow-Origin", headers)

    def test_a_connection_is_kept_and_requests_may_be_pipelined(self):
        with self.server.connect() as connection:
            for _ in range(3):
                connection.sendall(http_request("GET", "/health"))
                self.assertEqual(read_answer(connection)[0], 200)
            connection.sendall(http_request("GET", "/health") * 2)
            for _ in range(2):
                self.assertEqual(read_answer(connection)[0], 200)

    def test_chunked_bodies_and_expectations(self):
        body = json.dumps({"content": "Once"}).encode()
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        with self.server.connect() as connection:
            connection.sendall(http_request("POST", "/tokenize", headers=["Transfer-Encoding: chunked"]) + chunks)
            status, answer = read_answer(connection)
            self.assertEqual(status, 200, answer)
            head = f"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode())
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 100"))
            connection.sendall(body)
            self.assertEqual(read_answer(connection)[0], 200)

    def test_an_http_1_0_client_reads_until_the_end(self):
        body = json.dumps({"prompt": "Once", "max_tokens": 3, "stream": True}).encode()
        answer = self.server.raw(http_request("POST", "/v1/completions", body, version="1.0"))
        self.assertIn(b" 200 ", answer.split(b"\r\n")[0] + b" ")
        self.assertNotIn(b"chunked", answer.lower())
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n"), answer[-100:])


class BadRequests(ServeTest):
    OPTIONS = ("--max-body", "64K", "--header-timeout", "1")

    def test_malformed_http_is_refused_and_closed(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 60, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                     b"GET /health HTTP/1.1\r\nBad Header\r\n\r\n", b"\r\n\r\n\r\n\r\n", b"GET /health HTTP/1.1\r\nA: \x00\r\n\r\n",
                     b"POST /tokenize HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"POST /tokenize HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                     b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"):
            answer = self.server.raw(data)
            if answer:
                self.assertTrue(answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), (data, answer[:60]))
        self.assertEqual(self.server.json("GET", "/health"), {"status": "ok"})

    def test_large_heads_and_bodies(self):
        answer = self.server.raw(http_request("GET", "/health", headers=["X: " + "a" * 40000]))
        self.assertTrue(answer.startswith(b"HTTP/1.1 431"), answer[:80])
        answer = self.server.raw(b"POST /tokenize HTTP/1.1\r\nContent-Length: 70000\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer[:80])
        chunk = b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n" + b"a" * 4096 + b"\r\n") * 20
        answer = self.server.raw(chunk)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413") or answer == b"", answer[:80])

    def test_a_slow_head_is_cut_off(self):
        with self.server.connect() as connection:
            begin = time.monotonic()
            try:
                for byte in b"GET /health HTTP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa":
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)
                    connection.setblocking(False)
                    try:
                        if connection.recv(1) == b"":
                            break
                    except BlockingIOError:
                        pass
                    connection.setblocking(True)
            except OSError:
                pass
            self.assertLess(time.monotonic() - begin, 6)

    def test_hostile_json(self):
        deep = b'{"prompt":' + b"[" * 20000 + b"]" * 20000 + b"}"
        keys = ("{" + ",".join(f'"k{i}":1' for i in range(3000)) + "}").encode()
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"prompt":"\xff"}', b'{"prompt":"\\ud800"}', deep, keys,
                     b'{"prompt":1e999}', b'{"prompt":"a","n":1e400}', b"{'prompt':'a'}", b'{"prompt":"a"}}', b"\x00" * 100):
            for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/tokenize"):
                status, _, answer = self.server.request("POST", path, body)
                self.assertEqual(status, 400, (path, body[:40], answer[:200]))
                self.assertIn("message", json.loads(answer)["error"])

    def test_numbers_out_of_their_bounds(self):
        for field, values in {"max_tokens": (-1, 1 << 40, 1.5, "4", True, -(1 << 63), 18446744073709551615),
                              "n": (0, -1, 65, 1 << 33, 0.5), "temperature": (-0.1, 2.1, "hot", [], 1e300),
                              "top_p": (-1, 1.01), "logprobs": (-1, 21), "top_k": (-2, 1 << 30), "seed": (1e30, "a", 1.5),
                              "priority": (101, -101), "min_p": (2,), "frequency_penalty": (3,)}.items():
            for value in values:
                self.error("/v1/completions", {"prompt": "a", field: value}, 400, param=field)
        for bias in ({"-1": 1}, {"x": 1}, {"99999999999999999999": 1}, {"512": 1}, {"1": 101}, {"1": "a"}, []):
            self.error("/v1/completions", {"prompt": "a", "logit_bias": bias}, 400, param="logit_bias")
        for tokens in ([-1], [512], [1.0], ["a"], [1 << 62], 5):
            self.error("/detokenize", {"tokens": tokens}, 400)
        for prompt in ([[-5]], [1, 600], [["a"]], [], [[]], 7, {"a": 1}, [None], "a " * 20000):
            self.error("/v1/completions", {"prompt": prompt}, 400)

    def test_unknown_fields_and_models_are_named(self):
        self.error("/v1/completions", {"prompt": "a", "frobnicate": 1}, 400, "unknown_parameter", "frobnicate")
        self.error("/v1/completions", {"prompt": "a", "model": "gpt-4"}, 404, "model_not_found", "model")
        self.error("/v1/completions", {"prompt": "a", "model": "tiny:none"}, 404, "model_not_found", "model")
        self.error("/v1/chat/completions", {"messages": [{"role": "king", "content": "a"}]}, 400, param="messages[0].role")
        self.error("/v1/chat/completions", {"messages": [{"role": "user", "content": "a b c " * 3000}]}, 400,
                   "context_length_exceeded")

    def test_other_hosts_and_origins(self):
        for headers, status in (({"Host": "evil.example"}, 403), ({"Host": "localhost:1"}, 200), ({"Host": "[::1]:80"}, 200),
                                ({"Origin": "http://evil.example"}, 403),
                                ({"Origin": f"http://127.0.0.1:{self.server.port}"}, 200)):
            got, _, _ = self.server.request("GET", "/v1/models", headers=headers)
            self.assertEqual(got, status, headers)


class Keys(ServeTest):
    OPTIONS = ("--api-key", "first-key", "--api-key", "second-key", "--access-log", "-")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.auth = {"Authorization": "Bearer second-key"}

    def test_only_keys_open(self):
        self.server.json("GET", "/health")
        for value in (None, "Bearer", "Bearer ", "Bearer first-ke", "Bearer first-keyy", "Basic first-key", "first-key"):
            headers = {} if value is None else {"Authorization": value}
            for path in ("/v1/models", "/metrics", "/api/status", "/v1/none"):
                status, answer_headers, body = self.server.request("GET", path, headers=headers)
                self.assertEqual(status, 401, (value, path))
                self.assertEqual(json.loads(body)["error"]["code"], "invalid_api_key")
                self.assertEqual(answer_headers["WWW-Authenticate"], "Bearer")
        for key in ("first-key", "second-key"):
            self.server.json("GET", "/v1/models", headers={"Authorization": "Bearer " + key})

    def test_the_log_has_neither_keys_nor_prompts(self):
        self.server.json("POST", "/v1/completions", {"prompt": "a very secret story", "max_tokens": 2},
                         headers={"Authorization": "Bearer first-key"})
        self.server.json("POST", "/v1/completions", {"prompt": "x"}, status=401, headers={"Authorization": "Bearer wr0ng"})
        log = self.server.messages()
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        mine = [line for line in lines if line["path"] == "/v1/completions" and line["status"] == 200][0]
        self.assertEqual((mine["key"], mine["model"], mine["generated_tokens"]), ("key 1", "tiny", 2))
        for secret in ("first-key", "second-key", "wr0ng", "secret story"):
            self.assertNotIn(secret, log)


class Clients(ServeTest):
    OPTIONS = ("--parallel", "2", "--queue", "2", "--ctx", "2048")
    ENDLESS = {"prompt": "Once upon a time", "max_tokens": 1900, "ignore_eos": True, "stream": True, "temperature": 0}

    def begin_stream(self, **fields):
        connection = self.server.connect()
        body = json.dumps({**self.ENDLESS, **fields}).encode()
        connection.sendall(http_request("POST", "/v1/completions", body))
        self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200"))
        return connection

    def test_a_client_that_leaves_is_cancelled(self):
        for how in ("close", "reset", "half"):
            connection = self.begin_stream()
            if how == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            if how == "half":
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
            self.assertIsNone(self.server.at_rest(), how)
            connection.close()
        self.assertEqual(self.complete(max_tokens=5)["usage"]["completion_tokens"], 5)

    def test_a_reader_that_stalls_stalls_nobody(self):
        stalled = self.begin_stream(logprobs=5)
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        expected = self.complete(max_tokens=40)
        for _ in range(3):
            self.assertEqual(self.complete(max_tokens=40)["choices"], expected["choices"])
        stalled.close()

    def test_a_full_queue_says_429(self):
        streams = [self.begin_stream() for _ in range(2)]
        waiting = [self.server.connect() for _ in range(2)]
        for connection in waiting:
            connection.sendall(http_request("POST", "/v1/completions", json.dumps(self.ENDLESS).encode()))
        until = time.monotonic() + 10
        while self.server.status()["models"][0]["batch_waiting"] < 2 and time.monotonic() < until:
            time.sleep(0.01)
        status, headers, body = self.server.request("POST", "/v1/completions", {"prompt": "a"})
        self.assertEqual(status, 429, body)
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        self.assertEqual(json.loads(body)["error"]["code"], "rate_limit_exceeded")
        for connection in streams + waiting:
            connection.close()
        self.assertIsNone(self.server.at_rest())
        self.complete(max_tokens=2)


class Ending(unittest.TestCase):
    def test_running_requests_end_before_the_server(self):
        server = Server("--ctx", "1024")
        answers = []
        body = {"prompt": "Once", "max_tokens": 900, "ignore_eos": True}
        thread = threading.Thread(target=lambda: answers.append(server.json("POST", "/v1/completions", body)))
        idle = server.connect()
        thread.start()
        while thread.is_alive() and server.status()["models"][0]["batch_running"] < 1:
            time.sleep(0.005)
        self.assertEqual(server.stop(), 0, server.messages())
        thread.join()
        self.assertEqual(answers[0]["usage"]["completion_tokens"], 900)
        self.assertEqual(idle.recv(10), b"")
        idle.close()
        with self.assertRaises(OSError):
            server.connect(1)

    def test_a_second_signal_or_the_time_limit_ends_it_at_once(self):
        for limit in ("30", "0"):
            server = Server("--ctx", "2048", "--drain-timeout", limit)
            with server.connect() as connection:
                connection.sendall(http_request("POST", "/v1/completions", json.dumps(Clients.ENDLESS).encode()))
                connection.recv(100)
                server.process.send_signal(signal.SIGTERM)
                if limit == "30":
                    time.sleep(0.3)
                    server.process.send_signal(signal.SIGTERM)
                begin = time.monotonic()
                self.assertEqual(server.process.wait(60), 0, server.messages())
                self.assertLess(time.monotonic() - begin, 15)
            server.process.stdout.close()


if __name__ == "__main__":
    unittest.main()
