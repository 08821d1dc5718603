"""Bad usage and bad files: exit status, one line on standard error, nothing on standard output, no crash."""
import random
import resource
import subprocess
import unittest

from harness import PROGRAM, TIMEOUT, TINY_FILE, CliTest

VERBS = ["run", "chat", "tokenize", "info", "convert", "synth", "embed", "logits", "perplexity", "bench", "list",
         "pull", "completion"]

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
    (["run", "--typical", "0"], "--typical"),
    (["run", "--mirostat", "3"], "--mirostat"),
    (["run", "--mirostat", "2", "--top-k", "5"], "--top-k"),
    (["run", "--mirostat", "2", "--temperature", "0"], "--mirostat"),
    (["run", "--mirostat-tau", "3"], "--mirostat-tau"),
    (["run", "--repeat-window", "-3"], "--repeat-window"),
    (["run", "--logit-bias", "15"], "--logit-bias"),
    (["run", "--logit-bias", "15:nan"], "--logit-bias"),
    (["run", "--logit-bias=-1:2"], "--logit-bias"),
    (["run", "--presence-penalty", "inf"], "--presence-penalty"),
    (["run", "--beams", "0"], "beams"),
    (["run", "--beams", "2", "--n-best", "3"], "results"),
    (["run", "--n-best", "3"], "--n-best"),
    (["run", "--length-penalty", "1"], "--length-penalty"),
    (["run", "--beams", "2", "--temperature", "1"], "--temperature"),
    (["run", "--beams", "2", "--seed", "0"], "--seed"),
    (["run", "--beams", "2", "--logprobs", "1"], "--logprobs"),
    (["run", "--beams", "2", "--draft", "ngram"], "--draft"),
    (["run", "--draft", "layers:x"], "layers"),
    (["run", "--draft", "layers:0"], "layers"),
    (["run", "--draft", "layers:9", "--quiet"], "9 layers"),
    (["run", "--draft", "ngram", "--draft-tokens", "0"], "--draft-tokens"),
    (["run", "--draft-tokens", "3"], "--draft-tokens"),
    (["pull", "x"], "http"),
    (["pull", "http://a/b", "--tries", "0"], "--tries"),
    (["embed", "tiny"], "-f FILE"),
    (["embed", "tiny", "-p", "a", "--pooling", "max"], "'mean'"),
    (["embed", "tiny", "-p", "a", "--batch", "0"], "--batch"),
    (["run", "--grammar", ""], "--grammar is empty"),
    (["run", "--json-schema", ""], "--json-schema is empty"),
    (["run", "--kv-codec", "f17"], "'f16'"),
    (["run", "--stop", ""], "--stop"),
    (["run", "-t", "1000000"], "1000000"),
    (["run", "tiny", "-m", "other.gguf"], "other.gguf"),
    (["run", "-p", "a", "-f", "b"], "-f"),
    (["info"], "MODEL"),
    (["convert", "tiny"], "OUT"),
    (["bench", "-p", "0"], "1 or more"),
]


# Requests that are well written and cannot be served: arguments of run, and what the message must contain.
REQUESTS = [
    (["--grammar", 'root ::= "x" root'], ["root", "never"]),
    (["--grammar", 'root ::= root "x" | "y"'], ["root", "recursive"]),
    (["--grammar", 'root ::= missing'], ["missing"]),
    (["--grammar", 'a ::= "x"'], ["root"]),
    (["--grammar", 'root ::= (("a"{1000}){1000}){1000}'], ["200000"]),
    (["--grammar", 'root ::= "a'], ["grammar"]),
    (["--json-schema", '{"type":"integer","minimum":5,"maximum":3}'], ["minimum", "maximum"]),
    (["--json-schema", '{"type":"string","maxLength":100000}'], ["maxLength", "90000"]),
    (["--json-schema", "[]"], ["a schema must be an object"]),
    (["--json-schema", "false"], ["schema", "never"]),
    (["--json-schema", '{"type":"object","dependentSchemas":{}}'], ["dependentSchemas"]),
    (["--json-schema", '{"$ref":"#/$defs/none"}'], ["none"]),
    (["--json-schema", '{"type":'], ["JSON"]),
    (["-c", "8", "-p", "a prompt that is longer than the context"], ["context", "-c"]),
    (["-c", "8", "--beams", "2", "-p", "a prompt that is longer than the context"], ["context", "-c"]),
    (["--adapter", "none.gguf"], ["none.gguf"]),
    (["--adapter", str(TINY_FILE)], ["not an adapter"]),
    (["--draft", "none.gguf"], ["none.gguf"]),
]


class Usage(CliTest):
    def test_messages(self):
        for args, text in USAGE:
            with self.subTest(args):
                self.fails(2, *args, says=text)

    def test_requests(self):
        for args, texts in REQUESTS:
            with self.subTest(args):
                self.fails(1, "run", "tiny", "--quiet", *args, says=texts)

    def test_a_bias_that_leaves_no_token(self):
        every = [argument for id in range(512) for argument in ("--logit-bias", f"{id}:-inf")]
        for temperature in ["0", "1"]:
            message = self.fails(2, "run", "tiny", "--quiet", "-p", "x", "--temperature", temperature, *every, says="logit bias")
            self.assertNotIn("damaged", message)
        self.fails(2, "run", "tiny", "--quiet", "--logit-bias", "5:inf", "--logit-bias", "5:-inf",
                   says=["token 5", "inf and -inf"])

    def test_what_only_the_model_shows(self):
        self.fails(2, "run", "tiny", "--quiet", "--logit-bias", "99999:1", says=["99999", "vocabulary"])
        other = self.folder / "other.gguf"
        self.lathe("synth", "llama-tiny", other, "--quiet")
        self.fails(2, "run", "tiny", "--quiet", "--draft", other, says=["another vocabulary"])
        # One learned position too many.
        gpt = self.folder / "gpt.gguf"
        self.lathe("synth", "gpt2-tiny", gpt, "--quiet")
        self.fails(2, "run", gpt, "-p", "a", "--quiet", "-c", "1000000", says=["positions", "1000000"])

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
