"""What the server's tests share: a server on a free loopback port, requests over plain sockets and urllib.

After every test the server must be at rest: nothing running, every KV block back with the pool or the prefix cache.
"""
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

PROGRAM = os.environ["LATHE"]
SOURCE = pathlib.Path(os.environ["LATHE_SOURCE"])
SHARED = pathlib.Path(os.environ.get("LATHE_SHARED", SOURCE.parent / "shared"))
TINY_FILE = SOURCE / "models" / "tiny" / "stories260K.gguf"
TIMEOUT = 120  # seconds, far above what anything here needs even on a loaded machine


class Server:
    """lathe serve as a child process; `popen` is what subprocess.Popen gets beside."""

    def __init__(self, *args, models=("tiny",), scheme="http", **popen):
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PROGRAM, "serve", *map(str, models), "--port", "0", "--json", *map(str, args)],
                                        stdout=subprocess.PIPE, stderr=self.stderr, **popen)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {self.messages()}")
        self.info = json.loads(line)
        self.url = self.info["url"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def messages(self):
        if self.stderr.closed:
            return self.last_messages
        self.stderr.seek(0)
        return self.stderr.read().decode("utf-8", "replace")

    def stop(self, sig=signal.SIGTERM, timeout=TIMEOUT):
        """Asks it to stop; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        status = self.process.wait(timeout)
        self.process.stdout.close()
        self.last_messages = self.messages()
        self.stderr.close()
        return status

    def rss(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self, timeout=TIMEOUT):
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def request(self, method, path, body=None, headers=None, context=None):
        """(status, headers, bytes) of one request."""
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        request = urllib.request.Request(self.url + path, data=data, method=method,
                                         headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read()

    def json(self, method, path, body=None, status=200, **more):
        got, headers, data = self.request(method, path, body, **more)
        if got != status:
            raise AssertionError(f"{method} {path}: {got}, expected {status}: {data[:500]!r}")
        return json.loads(data)

    def raw(self, data, timeout=TIMEOUT):
        """Everything the server says to these bytes until it closes the connection."""
        with self.connect(timeout) as connection:
            connection.sendall(data)
            answer = b""
            while True:
                try:
                    piece = connection.recv(65536)
                except ConnectionResetError:
                    return answer
                if not piece:
                    return answer
                answer += piece

    def status(self):
        return self.json("GET", "/api/status", headers=self.auth)

    auth = {}

    def at_rest(self, seconds=20):
        """Waits until nothing runs; a complaint when it does not come to that."""
        until = time.monotonic() + seconds
        while True:
            state = self.status()
            models = state["models"]
            busy = [m for m in models if m["batch_running"] or m["batch_waiting"]]
            lost = [m for m in models if m["kv_blocks_in_use"] != m["kv_blocks_cached"]]
            if not busy and not lost:
                return None
            if time.monotonic() > until:
                return f"running: {busy}, blocks not returned: {lost}"
            time.sleep(0.02)


def http_request(method, path, body=b"", headers=(), version="1.1"):
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answer(connection):
    """One whole answer with a Content-Length from a kept connection: (status, body). Takes no byte of a next one."""

    def receive(most):
        piece = connection.recv(most)
        if not piece:
            raise AssertionError(f"closed after {head + body!r}")
        return piece

    head = body = b""
    while not head.endswith(b"\r\n\r\n"):
        head += receive(1)
    length = int([line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")][0].split(b":")[1])
    while len(body) < length:
        body += receive(length - len(body))
    return int(head.split()[1]), body


class ServeTest(unittest.TestCase):
    """A class-wide server; OPTIONS and MODELS are its arguments."""

    OPTIONS = ()
    MODELS = ("tiny",)
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.OPTIONS, models=cls.MODELS)

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        if status != 0:
            raise AssertionError(f"the server ended with {status}: {cls.server.messages()}")

    def tearDown(self):
        complaint = self.server.at_rest()
        if complaint:
            self.fail(complaint)

    def complete(self, prompt="Once upon a time", status=200, server=None, **fields):
        return (server or self.server).json("POST", "/v1/completions", {"prompt": prompt, "temperature": 0, **fields},
                                            status=status)

    def error(self, path, body, status, code=None, param=None):
        answer = self.server.json("POST", path, body, status=status)
        self.assertEqual(set(answer), {"error"})
        self.assertEqual(set(answer["error"]), {"message", "type", "param", "code"})
        self.assertTrue(answer["error"]["message"])
        if code:
            self.assertEqual(answer["error"]["code"], code)
        if param:
            self.assertEqual(answer["error"]["param"], param)
        return answer["error"]

    def events(self, path, body):
        """The data of every server-sent event of a stream."""
        status, headers, data = self.server.request("POST", path, body)
        self.assertEqual(status, 200, data)
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        found = []
        for block in data.decode().split("\n\n"):
            for line in block.splitlines():
                if line.startswith("data: "):
                    found.append(line[len("data: "):])
        return found
