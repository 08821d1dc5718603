"""Encoder-decoder models from the command line: run, logits --target, perplexity --source, and what they refuse."""
import math
import unittest

from harness import CliTest, SHARED


class Translate(CliTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "t5.gguf"
        self.lathe("synth", "t5-tiny", self.model, "--quiet")

    def test_scores_are_the_logits_of_the_target_given_the_source(self):
        source, target = self.folder / "source.txt", self.folder / "target.txt"
        source.write_text("a dog\nonce\n")
        target.write_text("the cat\na big tree\n")
        total = tokens = 0
        for text, answer in [("a dog", "the cat"), ("once", "a big tree")]:
            ids = self.json("tokenize", self.model, "-p", answer)["ids"]
            listed = ",".join(map(str, ids))
            rows = self.json("logits", self.model, "-p", text, "--target", listed, "--all", "--quiet")["logits"]
            self.assertEqual(len(rows), len(ids) + 1)  # one behind the token that the decoder begins with
            for row, token in zip(rows, ids):
                largest = max(row)
                total -= row[token] - largest - math.log(sum(math.exp(x - largest) for x in row))
                tokens += 1
        got = self.json("perplexity", self.model, "-f", target, "--source", source, "--quiet")
        self.assertEqual((got["tokens"], got["windows"]), (tokens, 2))
        self.assertAlmostEqual(got["nll"], total / tokens, places=5)

    def test_the_text_depends_on_the_source(self):
        def write(text):
            return self.lathe("run", self.model, "-p", text, "-n", "8", "--temp", "0", "--quiet").stdout

        self.assertEqual(write("a dog"), write("a dog"))
        self.assertNotEqual(write("a dog"), write("the cat slept"))

    def test_quantized_without_calibration(self):
        text, source = self.folder / "text.txt", self.folder / "source.txt"
        text.write_text("the cat slept\n")
        source.write_text("a dog\n")
        wide = self.json("perplexity", self.model, "-f", text, "--source", source)["perplexity"]
        for method in ("rtn", "bitmod"):
            out, copy = self.folder / f"{method}.lathe", self.folder / f"{method}-copy.lathe"
            self.json("quantize", self.model, out, "--method", method, "--bits", "4", "--group", "32")
            codecs = {tensor["name"]: tensor["codec"] for tensor in self.json("info", out)["tensors"]}
            for name in ("enc.blk.0.attn_q", "dec.blk.1.ffn_down", "dec.blk.0.cross_attn_k", "dec.blk.0.cross_attn_q"):
                self.assertEqual(codecs[f"{name}.weight"], {"rtn": "INT_SYM", "bitmod": "BITMOD"}[method], name)
            self.assertNotIn("F16", {codecs[name] for name in codecs if ".attn_" in name and "rel" not in name
                                     and "norm" not in name})
            self.json("convert", out, copy)
            one, other = (self.json("perplexity", m, "-f", text, "--source", source)["perplexity"] for m in (out, copy))
            self.assertEqual(one, other)
            self.assertNotEqual(one, wide)
            self.assertAlmostEqual(one, wide, delta=0.2 * wide)

    def test_refusals(self):
        text = self.folder / "text.txt"
        text.write_text("a\nb\n")
        one = self.folder / "one.txt"
        one.write_text("a\n")
        self.fails(2, "perplexity", self.model, "-f", text, "--quiet", says="--source")
        self.fails(1, "perplexity", self.model, "-f", text, "--source", one, "--quiet", says=["2", "1"])
        self.fails(1, "logits", "tiny", "--ids", "1", "--target", "2", "--quiet", says="encoder")
        self.fails(1, "quantize", self.model, self.folder / "out.lathe", "--quiet", says="encoder-decoder")
        self.assertFalse((self.folder / "out.lathe").exists())

    def test_a_real_model(self):
        model = SHARED / "models" / "aren-transliteration" / "f32"
        if not model.exists():
            self.skipTest(f"SKIPPED: {model} is absent")
        for search in [("--temp", "0"), ("--beams", "4")]:
            self.assertEqual(self.lathe("run", model, "-p", "آتزمون", *search, "--quiet").stdout.strip(), "atzmon")


if __name__ == "__main__":
    unittest.main()
