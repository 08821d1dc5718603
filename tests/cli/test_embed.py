"""lathe embed: vectors of lines, their shapes, and which line an error is about."""
import math
import unittest

from harness import CliTest

LINES = ["A dog ran in the park.", "A cat slept.", "Once upon a time", "A dog ran in the park."]


class Embed(CliTest):
    def test_json(self):
        file = self.folder / "lines.txt"
        file.write_text("\n".join(LINES) + "\n")
        for pooling in ["mean", "cls", "last"]:
            got = self.json("embed", "tiny", "-f", file, "--pooling", pooling, "--normalize", "--quiet")
            self.assertEqual(got["dim"], 64)
            self.assertEqual(len(got["embeddings"]), len(LINES))
            for vector in got["embeddings"]:
                self.assertEqual(len(vector), 64)
                self.assertAlmostEqual(math.hypot(*vector), 1, places=5)
            self.assertEqual(got["embeddings"][0], got["embeddings"][3])
            # The first token is BOS in every line.
            self.assertEqual(got["embeddings"][0] == got["embeddings"][1], pooling == "cls")

    def test_text(self):
        # The same numbers, a line each, whatever is read together; no line end, and Windows line ends.
        expected = self.json("embed", "tiny", "-f", "-", "--quiet", stdin="\n".join(LINES))["embeddings"]
        for batch in [1, 3]:
            printed = self.lathe("embed", "tiny", "-f", "-", "--quiet", "--batch", batch, stdin="\r\n".join(LINES)).stdout
            vectors = [[float(number) for number in line.split(" ")] for line in printed.splitlines()]
            self.assertEqual(len(vectors), len(expected))
            for got, want in zip(vectors, expected):
                for a, b in zip(got, want):
                    self.assertAlmostEqual(a, b, delta=1e-6 * abs(b) + 1e-12)
        one = self.json("embed", "tiny", "-p", LINES[1], "--quiet")
        self.assertEqual(one["embeddings"], [expected[1]])

    def test_encoder(self):
        model = self.folder / "bert"
        self.lathe("synth", "bert-tiny", model, "--layers", "2", "--codec", "F32", "--quiet")
        (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
        got = self.json("embed", model, "-f", "-", "--quiet", stdin="a cat slept\na dog ran\n")
        self.assertEqual((got["pooling"], got["normalize"], got["dim"]), ("cls", False, 256))
        self.assertNotEqual(got["embeddings"][0], got["embeddings"][1])  # the first token sees the others
        named = self.json("embed", model, "-p", "a cat slept", "--pooling", "cls", "--normalize", "--quiet")
        self.assertAlmostEqual(math.hypot(*named["embeddings"][0]), 1, places=5)
        self.fails(1, "embed", model, "-p", "word " * 600, "--quiet", says="context")
        self.fails(1, "run", model, "-p", "a cat", "--quiet", says="lathe embed")
        self.fails(1, "logits", model, "--ids", "1,2", "--quiet", says="lathe embed")

    def test_errors(self):
        self.fails(1, "embed", "tiny", "-f", "-", "--quiet", stdin="a\n\nb\n", says=["line 2", "empty"])
        self.fails(1, "embed", "tiny", "-f", "-", "--quiet", stdin="", says="no lines")
        lines = "\n".join(["a"] * 70 + ["word " * 80])
        result = self.lathe("embed", "tiny", "-f", "-", "-c", "32", "--quiet", "--json", stdin=lines, status=1)
        self.assertIn("line 71", result.stderr)
        self.assertEqual(result.stdout, "")
        self.fails(2, "embed", says="MODEL")


if __name__ == "__main__":
    unittest.main()
