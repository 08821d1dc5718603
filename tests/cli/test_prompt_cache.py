"""--prompt-cache of run and chat: what one run has read, the next need not."""
import json
import re
import resource
import signal
import subprocess
import unittest

from harness import PROGRAM, TIMEOUT, TINY_FILE, CliTest

PROMPT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 4


class PromptCache(CliTest):
    def setUp(self):
        super().setUp()
        self.file = self.folder / "prompt.prefixes"

    def run_with(self, *args, prompt=PROMPT):
        return self.json("run", "tiny", "-p", prompt, "-n", 20, "--temperature", 0, "--prompt-cache", self.file, *args)

    def test_the_next_run_reads_only_what_is_new(self):
        first = self.run_with()
        self.assertEqual(first["cached_tokens"], 0)
        second = self.run_with()
        self.assertEqual(second["text"], first["text"])
        self.assertGreater(second["cached_tokens"], second["prompt_tokens"] - 34)
        longer = self.run_with(prompt=PROMPT + "One day, ")
        self.assertGreater(longer["cached_tokens"], second["prompt_tokens"] - 34)
        self.assertEqual(longer["text"], self.json("run", "tiny", "-p", PROMPT + "One day, ", "-n", 20, "--temperature", 0)["text"])

    def test_chat_goes_on_from_there(self):
        lines = f"{PROMPT}\n{PROMPT}\n"
        chat = ("chat", "tiny", "-n", 5, "--temperature", 0, "--prompt-cache", self.file)
        first = self.json(*chat, stdin=lines)
        result = self.lathe(*chat, "--json", "--verbose", stdin=lines)
        self.assertEqual(json.loads(result.stdout), first)
        self.assertIn("tokens restored", result.stderr)
        turns = re.findall(r"(\d+) prompt tokens \((\d+) cached\)", result.stderr)
        self.assertEqual(len(turns), 2, result.stderr)
        for tokens, cached in turns:
            self.assertGreater(int(cached), int(tokens) - 34)

    def test_a_file_that_cannot_be_used_is_an_error_and_stays(self):
        self.file.write_bytes(TINY_FILE.read_bytes())
        run = ("run", "tiny", "--quiet", "--prompt-cache", self.file)
        self.fails(1, *run, says=[str(self.file), "no file of prefixes", "choose another --prompt-cache"])
        self.assertEqual(self.file.read_bytes(), TINY_FILE.read_bytes())
        self.file.unlink()
        self.run_with()
        before = self.file.read_bytes()
        self.fails(1, *run, "--kv-codec", "int8", says=["in f16, not in int8"])
        other = self.folder / "other.gguf"
        self.lathe("convert", TINY_FILE, other, "--dtype", "Q8_0", "--quiet")
        self.fails(1, "run", other, "-p", "a", "--quiet", "--prompt-cache", self.file, says=["another model"])
        self.assertEqual(self.file.read_bytes(), before)
        self.fails(2, *run, "--beams", 2, says="--beams")

    def test_a_full_disk_is_a_warning_behind_the_text(self):
        self.run_with()
        before = self.file.read_bytes()

        def little_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

        result = subprocess.run([PROGRAM, "run", "tiny", "-p", "Tom had a dog. " * 20, "-n", "5", "--prompt-cache", self.file],
                                capture_output=True, timeout=TIMEOUT, text=True, preexec_fn=little_room)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"warning: {self.file}: cannot write", result.stderr)
        self.assertEqual(self.file.read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
