"""Bad usage and bad files: exit status, one line on standard error, nothing on standard output, no crash."""
import random
import resource
import subprocess
import unittest

from harness import PROGRAM, TIMEOUT, TINY_FILE, CliTest

VERBS = ["run", "chat", "tokenize", "info", "convert", "synth", "logits", "perplexity", "bench"]

# Arguments, and what the message must contain.
USAGE = [
    (["rnu"], "'run'"),
    (["tokenise"], "'tokenize'"),
    (["--vesion"], "'--version'"),
    (["run", "--temperture", "0"], "'--temperature'"),
    (["run", "--top_k", "3"], "'--top-k'"),
    (["run", "tiny", "extra"], "'extra'"),
    (["run", "-n"], "-n"),
    (["run", "-n", "many"], "many"),
    (["run", "-n", "-1"], "-1"),
    (["run", "-n", "99999999999"], "99999999999"),
    (["run", "--temperature", "warm"], "warm"),
    (["run", "--temperature", "-1"], "--temperature"),
    (["run", "--temperature", "nan"], "nan"),
    (["run", "--top-p", "1.5"], "--top-p"),
    (["run", "--kv-codec", "f17"], "'f16'"),
    (["run", "--stop", ""], "--stop"),
    (["run", "-t", "1000000"], "1000000"),
    (["run", "tiny", "-m", "other.gguf"], "other.gguf"),
    (["run", "-p", "a", "-f", "b"], "-f"),
    (["info"], "MODEL"),
    (["convert", "tiny"], "OUT"),
    (["bench", "-p", "0"], "1 or more"),
]


class Usage(CliTest):
    def test_messages(self):
        for args, text in USAGE:
            with self.subTest(args):
                self.fails(2, *args, says=text)

    def test_no_verb(self):
        result = self.lathe(status=2)
        self.assertEqual(result.stdout, "")
        self.assertIn("usage:", result.stderr)

    def test_help(self):
        overview = self.lathe("--help").stdout
        for verb in VERBS:
            self.assertIn(f"  {verb} ", overview)
            text = self.lathe(verb, "-h").stdout
            self.assertIn(f"usage: lathe {verb}", text)
            self.assertIn("--json", text)
            for line in text.splitlines():
                if line.startswith("  -") and "--help" not in line:
                    # Every option states its default, on its own line or where its text continues.
                    after = text[text.index(line) :].split("\n  -")[0].split("\n      --")[0]
                    self.assertIn("default:", after, line)

    def test_version(self):
        self.assertRegex(self.lathe("--version").stdout, r"^lathe \d+\.\d+\.\d+\n$")

    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            result = subprocess.run([PROGRAM, "tokenize", "tiny", "-p", "a"], stdout=full, stderr=subprocess.PIPE,
                                    timeout=TIMEOUT)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b"standard output", result.stderr)


class Files(CliTest):
    def test_absent(self):
        self.fails(1, "run", self.folder / "none.gguf", "-p", "a", says="none.gguf")
        (self.folder / "model.gguf").write_bytes(b"x")
        self.fails(1, "info", self.folder / "modle.gguf", says="model.gguf")
        self.fails(1, "run", "tinny", says="'tiny'")
        self.fails(1, "run", "tiny", "-f", self.folder / "no.txt", says="no.txt")
        self.fails(1, "run", "tiny", "-p", "a", "--tokenizer", self.folder / "no.json", says="no.json")

    def test_not_a_model(self):
        for name, content in (("empty.gguf", b""), ("text.gguf", b"hello\n" * 100), ("zeros.bin", bytes(5000)),
                              ("half.json", b'{"a": [1, 2'), ("noise.safetensors", random.Random(1).randbytes(3000))):
            path = self.folder / name
            path.write_bytes(content)
            for verb in ("info", "tokenize", "run"):
                with self.subTest(f"{verb} {name}"):
                    self.fails(1, verb, path, *(["-p", "a"] if verb != "info" else []), "--quiet", says=name)
        (self.folder / "bare").mkdir()
        self.fails(1, "info", self.folder / "bare", says="bare")

    def broken(self, content, name):
        """A damaged file either still runs or fails with one line, within memory and time."""
        path = self.folder / name
        path.write_bytes(content)

        def limits():
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))

        result = subprocess.run([PROGRAM, "run", str(path), "-p", "a", "-n", "2", "--quiet"], capture_output=True,
                                timeout=TIMEOUT, preexec_fn=limits)
        self.assertIn(result.returncode, (0, 1), (name, result.returncode, result.stderr))
        if result.returncode == 1:
            message = result.stderr.decode("utf-8", "replace").strip()
            self.assertEqual(len(message.splitlines()), 1, message)
            self.assertIn(name, message)
        return result.returncode

    def test_truncated(self):
        whole = TINY_FILE.read_bytes()
        for length in (4, 8, 23, 24, 100, 1000, 5000, 12000, len(whole) // 2, len(whole) - 1):
            self.assertEqual(self.broken(whole[:length], f"cut{length}.gguf"), 1, length)

    def test_flipped(self):
        whole = TINY_FILE.read_bytes()
        generator = random.Random(5)
        failures = 0
        for i in range(24):
            damaged = bytearray(whole)
            at = generator.randrange(4, 9000)  # the header and the tables; the weights are not checked
            damaged[at] ^= 1 << generator.randrange(8)
            failures += self.broken(bytes(damaged), f"flip{i}.gguf")
        self.assertGreater(failures, 0)


if __name__ == "__main__":
    unittest.main()
