"""Mixed load with clients that come, stall and leave at random; afterwards the server holds no more than it did before.

LATHE_SOAK_SECONDS (default 40) says for how long; half an hour by hand: LATHE_SOAK_SECONDS=1800 LATHE=.../bin/lathe
LATHE_SOURCE=. python3 -B tests/serve/test_soak.py
"""
import collections
import gc
import json
import os
import random
import resource
import socket
import threading
import time
import unittest

from harness import ServeTest, http_request

SECONDS = float(os.environ.get("LATHE_SOAK_SECONDS", "40"))
CLIENTS = 12
GROWTH = 8 << 20  # bytes of resident memory between the second and the last quarter
OWN_MEMORY = not os.environ.get("LATHE_SANITIZE")  # a sanitizer keeps what is freed, and more


def read_to_end(connection):
    """What a streamed answer still says; over when it says so, or is none."""
    tail = b""
    while b"[DONE]" not in tail and not tail.startswith(b"HTTP/1.1 429"):
        piece = connection.recv(1 << 16)
        if not piece:
            raise AssertionError(f"closed after {tail!r}")
        tail = tail[-5:] + piece if tail else piece


class Client(threading.Thread):
    """One request after another, each of a kind drawn at random, until told to stop."""

    def __init__(self, server, seed, until):
        super().__init__()
        self.server, self.random, self.until = server, random.Random(seed), until
        self.done, self.failures = collections.Counter(), []

    def run(self):
        kinds = [self.whole, self.whole, self.stream, self.leaves, self.leaves, self.stalls, self.chat, self.program,
                 self.abandoned_program, self.malformed, self.embedding, self.long_prompt, self.too_long]
        while time.monotonic() < self.until and not self.failures:
            kind = self.random.choice(kinds)
            try:
                kind()
                self.done[kind.__name__] += 1
            except Exception as error:  # reported by the test
                self.failures.append(f"{kind.__name__}: {error!r}")

    def text(self, words):
        return " ".join(self.random.choice(("Once", "Tom", "saw", "a", "red", "ball", "and", "ran")) for _ in range(words))

    def ask(self, path, body, expected=200):
        status, _, data = self.server.request("POST", path, body)
        # A full queue is an answer, too.
        if status not in (expected, 429):
            raise AssertionError(f"{path}: {status} {data[:300]!r}")
        return status, data

    def begin(self, **fields):
        """A connection on which an answer streams."""
        connection = self.server.connect()
        body = {"prompt": self.text(20), "stream": True, "ignore_eos": True, "max_tokens": 1500, **fields}
        connection.sendall(http_request("POST", "/v1/completions", json.dumps(body).encode()))
        return connection

    def whole(self):
        self.ask("/v1/completions", {"prompt": self.text(self.random.randrange(1, 60)), "n": self.random.randrange(1, 4),
                                     "max_tokens": self.random.randrange(1, 80), "logprobs": 2})

    def stream(self):
        with self.begin(max_tokens=self.random.randrange(1, 200)) as connection:
            read_to_end(connection)

    def leaves(self):
        connection = self.begin()
        time.sleep(self.random.random() * 0.05)
        if self.random.random() < 0.5:  # with a reset, not a goodbye
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    def stalls(self):
        with self.begin(logprobs=5):
            time.sleep(self.random.random())

    def chat(self):
        self.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": self.text(30)}], "max_tokens": 40,
                                          "response_format": {"type": "json_object"}})

    def calls(self):
        output = lambda name: [{"name": name, "is_output": True}]
        return [{"template": self.text(20) + "{{a}}", "parameters": output("a"), "max_tokens": 30},
                {"template": self.text(20) + "{{b}}", "parameters": output("b"), "max_tokens": 30},
                {"template": "{{a}} {{b}} so{{c}}", "parameters": output("c"), "max_tokens": 30}]

    def program(self):
        _, data = self.ask("/v1/session", {})
        session = json.loads(data)["session_id"]
        status, data = self.ask("/v1/semantic_call", {"session_id": session, "calls": self.calls()})
        if status == 200:
            self.server.json("GET", f"/v1/semantic_var/{json.loads(data)['variables']['c']}?criteria=latency")
        self.server.json("DELETE", f"/v1/session/{session}")

    def abandoned_program(self):
        _, data = self.ask("/v1/session", {})
        session = json.loads(data)["session_id"]
        self.ask("/v1/semantic_call", {"session_id": session, "calls": self.calls()})
        if self.random.random() < 0.5:  # the others are forgotten after --session-timeout
            self.server.json("DELETE", f"/v1/session/{session}")

    def malformed(self):
        raw = self.random.choice((b"\0\xff\n\r\n\r\n", http_request("POST", "/v1/completions", b"[" * 3000),
                                  http_request("POST", "/v1/completions", b'{"prompt":"\xff"}'),
                                  http_request("POST", "/v1/completions", b'{"prompt":"x","max_tokens":-1}'),
                                  http_request("GET", "/v1/semantic_var/var_none_1"), b"POST / HTTP/1.1\r\nContent-Le"))
        with self.server.connect() as connection:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass

    def embedding(self):
        self.ask("/v1/embeddings", {"input": [self.text(30), self.text(5)]})

    def long_prompt(self):
        self.ask("/v1/completions", {"prompt": self.text(700), "max_tokens": 4})

    def too_long(self):
        self.ask("/v1/completions", {"prompt": self.text(6000), "max_tokens": 4}, expected=400)


class Soak(ServeTest):
    OPTIONS = ("--ctx", "2048", "--parallel", "8", "--queue", "64", "--session-timeout", "2", "--kv-memory", "24M")

    def test_mixed_load_leaves_nothing_behind(self):
        begin = time.monotonic()
        clients = [Client(self.server, seed, begin + SECONDS) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        rss, descriptors = [], []
        while any(client.is_alive() for client in clients):
            time.sleep(0.25)
            rss.append(self.server.rss())
            descriptors.append(self.server.descriptors())
        for client in clients:
            client.join()
        self.assertEqual([failure for client in clients for failure in client.failures], [])
        done = sum((client.done for client in clients), collections.Counter())
        self.assertEqual(len(done), 11, done)

        time.sleep(3)  # the last sessions are forgotten, connections that were left are closed
        gc.collect()
        self.assertIsNone(self.server.at_rest())
        left = self.server.status()["programs"]
        self.assertEqual([p for p in left if p["object"] != "request" or p["state"] != "idle"], [])
        self.assertLessEqual(len(left), 32)
        quarter = len(rss) // 4
        early, late = max(rss[quarter:2 * quarter]), max(rss[-quarter:])
        print(f"{sum(done.values())} requests in {SECONDS:.0f} s: {dict(done)}; resident at most {early / 1e6:.1f} MB in the "
              f"second quarter, {late / 1e6:.1f} MB in the last; descriptors at most {max(descriptors)}, "
              f"at rest {self.server.descriptors()}")
        if OWN_MEMORY:
            self.assertLess(late, early + GROWTH)
        self.assertLess(self.server.descriptors(), 32)


class Crowd(ServeTest):
    """Two thousand connections, most of them idle, 64 of them with an answer on its way."""

    CONNECTIONS, GENERATING, MEMORY = 2000, 64, 300 << 20
    OPTIONS = ("--ctx", "2048", "--parallel", str(GENERATING))

    @classmethod
    def setUpClass(cls):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most < cls.CONNECTIONS + 100:
            raise unittest.SkipTest(f"SKIPPED: a process may open {most} files at most here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2 * cls.CONNECTIONS), most))  # the server inherits it
        super().setUpClass()

    def test_many_connections(self):
        before, begin = self.server.rss(), time.monotonic()
        idle = [self.server.connect() for _ in range(self.CONNECTIONS - self.GENERATING)]
        for connection in idle[::7]:  # some have asked before
            connection.sendall(http_request("GET", "/health"))
            self.assertTrue(connection.recv(1 << 16).startswith(b"HTTP/1.1 200"))
        body = {"prompt": "Once upon a time", "stream": True, "ignore_eos": True, "max_tokens": 1000, "temperature": 1}
        busy = [self.server.connect() for _ in range(self.GENERATING)]
        for connection in busy:
            connection.sendall(http_request("POST", "/v1/completions", json.dumps(body).encode()))
        for connection in busy:
            self.assertTrue(connection.recv(1))
        self.assertEqual(self.server.status()["connections"], self.CONNECTIONS + 1)
        most = self.server.rss()
        for connection in busy:
            read_to_end(connection)
        most = max(most, self.server.rss())
        print(f"{self.CONNECTIONS} connections, {self.GENERATING} of them generating 1,000 tokens each: {(most - before) / 1e6:.1f} MB, "
              f"KV blocks included, {time.monotonic() - begin:.1f} s")
        if OWN_MEMORY:
            self.assertLess(most - before, self.MEMORY)
        for connection in idle + busy:
            connection.close()


if __name__ == "__main__":
    unittest.main()
