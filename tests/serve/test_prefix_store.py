"""The prefix cache from one run of the server to the next: what comes back, what must not, and every way to fail."""
import json
import pathlib
import resource
import signal
import struct
import subprocess
import tempfile
import time
import unittest

from harness import PROGRAM, Server, TINY_FILE

PROMPT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8
WIDTH = 64  # of the tiny model


def write_adapter(folder, module, value):
    """A PEFT folder of one low-rank update whose numbers are all `value`."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type":"LORA","r":1,"lora_alpha":1}')
    prefix = f"base_model.model.model.layers.0.self_attn.{module}"
    data = struct.pack("<f", value) * WIDTH
    header = json.dumps({f"{prefix}.lora_A.weight": {"dtype": "F32", "shape": [1, WIDTH], "data_offsets": [0, len(data)]},
                         f"{prefix}.lora_B.weight": {"dtype": "F32", "shape": [WIDTH, 1],
                                                     "data_offsets": [len(data), 2 * len(data)]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + data + data)
    return folder


class PrefixStore(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.store = self.folder / "store" / "of prefixes"

    def start(self, *args, models=("tiny",), **popen):
        server = Server("--prefix-store", self.store, *args, models=models, **popen)
        self.addCleanup(lambda: server.process.poll() is None and server.process.kill())
        return server

    def stop(self, server, *says, sig=signal.SIGTERM):
        """Ends the server, which must not fail; its messages have to hold each of `says`."""
        self.assertIsNone(server.at_rest())
        self.assertEqual(server.stop(sig), 0, server.last_messages)
        for text in says:
            self.assertIn(str(text), server.last_messages)
        return server.last_messages

    def ask(self, server, model=None, prompt=PROMPT):
        """(text, tokens of the prompt, how many of them were cached)"""
        answer = server.json("POST", "/v1/responses", {"model": model or server.info["models"][0], "input": prompt, "temperature": 0,
                                                       "max_output_tokens": 20})
        usage = answer["usage"]
        return answer["output"][0]["content"][0]["text"], usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]

    def fill(self, *args, **more):
        """A run that leaves a file: the answer, and the file."""
        server = self.start(*args, **more)
        text, tokens, cached = self.ask(server)
        self.assertEqual(cached, 0)
        self.stop(server, "tokens of prefixes saved to")
        [file] = self.store.iterdir()
        return text, file

    def test_the_next_run_reads_only_what_is_new(self):
        expected, file = self.fill()
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.store.stat().st_mode & 0o777, 0o700)
        self.assertTrue(file.name.startswith("tiny-"))
        server = self.start()
        metrics = server.request("GET", "/metrics")[2].decode()
        restored = int(metrics.split('lathe_prefix_restored_tokens_total{model="tiny"} ')[1].split()[0])
        text, tokens, cached = self.ask(server)
        self.assertEqual(text, expected)
        self.assertGreaterEqual(restored, cached)
        self.assertGreater(cached, tokens - 34)
        self.assertLess(server.status()["models"][0]["prefill_tokens_total"], 34)
        self.stop(server, f"tiny: {restored} tokens of prefixes restored from {file}")

    def test_a_run_without_requests_leaves_the_file(self):
        _, file = self.fill()
        before = file.read_bytes(), file.stat().st_mtime_ns
        self.assertNotIn("saved", self.stop(self.start()))
        self.assertEqual((file.read_bytes(), file.stat().st_mtime_ns), before)

    def test_the_size_bounds_the_file(self):
        _, file = self.fill()
        whole = file.stat().st_size
        file.unlink()
        self.fill("--prefix-store-size", whole // 2)
        self.assertLessEqual(file.stat().st_size, whole // 2)
        server = self.start()
        _, tokens, cached = self.ask(server)
        self.assertTrue(0 < cached < tokens * 0.6, (cached, tokens))
        self.stop(server)

    def test_a_model_closed_for_another_keeps_its_prefixes(self):
        size = TINY_FILE.stat().st_size + (2 << 20)
        server = self.start("--kv-memory", "2M", "--memory", size + size // 2,
                            models=(f"one={TINY_FILE}", f"two={TINY_FILE}"))
        expected = self.ask(server, "one")
        self.assertEqual(self.ask(server, "two"), expected)  # the same files, but a store of its own
        text, _, cached = self.ask(server, "one")
        self.assertEqual(text, expected[0])
        self.assertGreater(cached, 0)
        self.stop(server, "one: closed to make room for two")
        self.assertEqual(len(list(self.store.iterdir())), 2)

    def test_another_model_of_the_same_name_starts_anew(self):
        self.fill(models=(f"m={TINY_FILE}",))
        other = self.folder / "other.gguf"
        subprocess.run([PROGRAM, "convert", TINY_FILE, other, "--dtype", "Q8_0", "--quiet"], check=True)
        server = self.start(models=(f"m={other}",))
        self.assertEqual(self.ask(server)[2], 0)
        self.assertNotIn("restored", self.stop(server))
        self.assertEqual(len(list(self.store.iterdir())), 2)

    def test_names_stay_inside_the_folder(self):
        _, file = self.fill(models=(f"../a b/é={TINY_FILE}",))
        self.assertRegex(file.name, r"^_\._a_b___-[0-9a-f]{16}\.prefixes$")

    def test_other_blocks_are_a_warning(self):
        _, file = self.fill()
        server = self.start("--kv-codec", "int8")
        self.assertEqual(self.ask(server)[2], 0)
        self.stop(server, "warning", f"{file}: holds KV blocks in f16, not in int8")

    def test_a_damaged_file_is_a_warning(self):
        expected, file = self.fill()
        whole = file.read_bytes()
        for name, damaged in [("a flipped bit", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]), ("cut", whole[:len(whole) // 2]),
                              ("empty", b""), ("no such file", b"GGUF" + whole[4:])]:
            with self.subTest(name):
                file.write_bytes(damaged)
                server = self.start()
                text, _, cached = self.ask(server)
                self.assertEqual((text, cached), (expected, 0))
                messages = self.stop(server, f"warning: {file}", "tiny starts without prefixes", "saved")
                self.assertEqual(messages.count("warning"), 1)
                self.assertEqual(file.read_bytes(), whole)

    def test_a_full_disk_leaves_the_old_file(self):
        _, file = self.fill()
        before = file.read_bytes()
        # No file may grow beyond 64 KiB, as if the disk were full there.
        server = self.start(preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (65536, 65536))
        self.ask(server, prompt="Tom had a dog. " * 60)
        messages = self.stop(server, f"warning: {file}: cannot write", "the prefixes of tiny were not saved")
        self.assertEqual(messages.count("warning"), 1)
        self.assertEqual(file.read_bytes(), before)
        self.assertEqual(list(self.store.iterdir()), [file])

    def test_a_file_system_that_is_full(self):
        self.store.mkdir(parents=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "lathe-test", self.store], capture_output=True).returncode != 0:
            self.skipTest("SKIPPED: a tmpfs cannot be mounted here")
        try:
            _, file = self.fill()
            before = file.read_bytes()
            server = self.start()
            self.ask(server, prompt="Tom had a dog. " * 60)
            self.stop(server, f"warning: {file}", "No space left", "free some space", "were not saved")
            self.assertEqual(file.read_bytes(), before)
            self.assertEqual(list(self.store.iterdir()), [file])
        finally:
            subprocess.run(["umount", "-l", self.store], check=True)

    def test_a_folder_that_went_away_is_a_warning(self):
        server = self.start()
        self.ask(server)
        self.store.rmdir()
        self.stop(server, "warning", self.store, "check the path", "the prefixes of tiny were not saved")

    def test_what_cannot_be_a_folder_is_an_error_at_the_start(self):
        (self.folder / "file").write_text("")
        for store in (self.folder / "file", self.folder / "file" / "below"):
            result = subprocess.run([PROGRAM, "serve", "--port", "0", "--prefix-store", store], capture_output=True, timeout=60, text=True)
            self.assertEqual(result.returncode, 1, result.stderr)
            self.assertIn(str(store), result.stderr)
            self.assertIn("--prefix-store", result.stderr)
        result = subprocess.run([PROGRAM, "serve", "--prefix-store-size", "1M"], capture_output=True, timeout=60, text=True)
        self.assertEqual(result.returncode, 2, result.stderr)

    def test_adapters_of_one_name_are_told_apart(self):
        one = write_adapter(self.folder / "one", "q_proj", 0.3)
        two = write_adapter(self.folder / "two", "q_proj", 0.2)

        def run(adapter):
            server = self.start("--adapter", f"poems={adapter}")
            plain, adapted = self.ask(server), self.ask(server, "tiny:poems")
            self.stop(server)
            return plain, adapted

        plain, adapted = run(one)
        self.assertEqual(plain[2], 0)
        self.assertEqual(adapted[2], 0)
        self.assertNotEqual(plain[0], adapted[0])
        plain_again, other = run(two)
        self.assertGreater(plain_again[2], 0)
        self.assertEqual(other[2], 0)
        self.assertNotEqual(other[0], adapted[0])
        _, scaled = run(f"{one}:0.5")
        self.assertEqual(scaled[2], 0)
        _, again = run(one)
        self.assertGreater(again[2], 0)
        self.assertEqual(again[0], adapted[0])

    def test_engines_are_asked_for_what_they_had_read(self):
        options = ("--engines", "2")
        prompts = [f"{name} had a dog. " * 20 for name in ("Tom", "Sue", "Ben", "Lily", "Max")]

        def homes(server):
            """Which engine each prompt is read by, and how many tokens of it were there."""
            found = []
            for prompt in prompts:
                before = [one["prompt_tokens_seen_total"] for one in server.status()["models"][0]["engines"]]
                cached = self.ask(server, prompt=prompt)[2]
                self.assertIsNone(server.at_rest())
                seen = [one["prompt_tokens_seen_total"] for one in server.status()["models"][0]["engines"]]
                found.append(([a > b for a, b in zip(seen, before)].index(True), cached))
            return found

        server = self.start(*options)
        first = [home for home, _ in homes(server)]
        self.assertEqual(set(first), {0, 1})
        self.stop(server)
        [router] = self.store.glob("*.router")
        self.assertEqual((router.stat().st_mode & 0o777, len(list(self.store.iterdir()))), (0o600, 3))
        prompts.reverse()  # strangers take turns, which would be another order
        server = self.start(*options)
        again = homes(server)
        self.assertEqual([home for home, _ in again], first[::-1])
        self.assertTrue(all(cached > 64 for _, cached in again), again)
        self.assertNotIn("warning", self.stop(server))
        # A damaged file is one warning, and is replaced.
        good = router.read_bytes()
        for damaged in (good[:-3], b"", good[:40] + bytes([good[40] ^ 1]) + good[41:]):
            router.write_bytes(damaged)
            server = self.start(*options)
            homes(server)
            messages = self.stop(server, f"warning: {router}", "without knowing which engine has read what")
            self.assertEqual(messages.count("warning"), 1)
            self.assertEqual(len(router.read_bytes()), len(good))
        # Engines whose prefixes are lost are not taken to have them.
        for file in self.store.glob("*.prefixes"):
            file.unlink()
        server = self.start(*options)
        self.assertEqual([home for home, _ in homes(server)], [0, 1, 0, 1, 0])
        self.stop(server)

    def test_a_hard_end_saves_too(self):
        server = self.start()
        self.ask(server)
        with server.connect() as connection:
            body = json.dumps({"prompt": "Tom", "max_tokens": 2000, "ignore_eos": True, "stream": True}).encode()
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.recv(100)
            server.process.send_signal(signal.SIGTERM)
            while "stopping" not in server.messages():
                time.sleep(0.01)
            self.assertEqual(server.stop(), 0)
        self.assertIn("tokens of prefixes saved", server.last_messages)

    def test_rests_of_servers_that_died_are_removed(self):
        _, file = self.fill()
        dead = subprocess.Popen(["true"])
        dead.wait()
        server = self.start()
        names = {f"{file.name}.partial-{dead.pid}": False, f"{file.name}.partial-{server.process.pid}": True,
                 f"notes.partial-{dead.pid}": True, f"{file.name}.partial-": True}
        for name in names:
            (self.store / name).write_text("")
        self.stop(self.start())
        for name, kept in names.items():
            self.assertEqual((self.store / name).exists(), kept, name)
        self.stop(server)


if __name__ == "__main__":
    unittest.main()
