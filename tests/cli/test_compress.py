"""lathe quantize, compare and bench matmul, as a user runs them."""
import pathlib
import unittest

from harness import CliTest


class Quantize(CliTest):
    def test_list_names_methods_codecs_and_pairs(self):
        listed = self.json("quantize", "--list")
        methods = {m["name"]: m for m in listed["methods"]}
        codecs = {c["name"] for c in listed["codecs"]}
        self.assertLessEqual({"rtn", "gptq", "awq", "smoothquant+"}, set(methods))
        self.assertLessEqual({"INT_SYM", "INT_ASYM", "Q4_0", "Q4_K"}, codecs)
        self.assertIn("INT_ASYM", methods["gptq"]["codecs"])
        self.assertNotIn("Q4_K", methods["gptq"]["codecs"])
        for method in methods.values():
            self.assertLessEqual(set(method["codecs"]), codecs)

    def test_smaller_and_still_good(self):
        text, out, plot = self.folder / "text.txt", self.folder / "small.lathe", self.folder / "plot.svg"
        text.write_text("Once upon a time there was a girl named Lily. She had a big red ball. " * 40)
        result = self.json("quantize", "tiny", out, "--bits", "4", "--group", "32", "--calibration", text,
                           "--calibration-tokens", "64", "--calibration-sequences", "8")
        self.assertLess(result["bits_per_weight"], 6)
        self.assertGreaterEqual(len(result["per_tensor"]), 5 * 7 + 1)
        self.assertFalse(pathlib.Path(f"{out}.partial").exists())
        rows = self.json("compare", "tiny", out, "-f", text, "-c", "128")["rows"]
        self.assertEqual([row["model"] for row in rows], ["tiny", str(out)])
        self.assertAlmostEqual(rows[0]["kl"], 0)
        self.assertEqual(rows[0]["top1_agreement"], 1)
        self.assertLess(rows[1]["bytes"], rows[0]["bytes"])
        self.assertGreater(rows[1]["kl"], 0)
        self.assertLess(rows[1]["kl"], 0.2)
        self.assertAlmostEqual(rows[1]["perplexity"],
                               self.json("perplexity", out, "-f", text, "-c", "128")["perplexity"], places=6)
        self.assertIn("INT_SYM", {tensor["codec"] for tensor in self.json("info", out)["tensors"]})
        table = self.lathe("compare", "tiny", out, "-f", text, "-c", "128", "--markdown", "--no-speed", "--plot", plot)
        self.assertEqual(len(table.stdout.splitlines()), 4)
        self.assertIn("small.lathe", plot.read_text())

    def test_methods_bring_their_codecs(self):
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a girl named Lily. She had a big red ball. " * 40)
        for method, codec, *options in (("spqr", "SPQR", "--bits", 3), ("bitmod", "BITMOD", "--bits", 4),
                                        ("db-llm", "FDB", "--bits", 2), ("dgq", "DGQ", "--bits", 4),
                                        ("slim-llm", "SLIM", "--bits", 3), ("shadow", "W8A8", "--shadow-prune", 0)):
            out = self.folder / f"{method}.lathe"
            self.json("quantize", "tiny", out, "--method", method, *options, "--calibration", text,
                      "--calibration-tokens", "64", "--calibration-sequences", "8")
            self.assertIn(codec, {tensor["codec"] for tensor in self.json("info", out)["tensors"]})
            copy = self.folder / f"{method}-copy.lathe"
            self.json("convert", out, copy)
            one, other = (self.json("run", m, "-p", "Once upon", "-n", "8", "--temperature", "0")["ids"]
                          for m in (out, copy))
            self.assertEqual(one, other)

    def test_activation_bits_belong_to_the_model(self):
        out, copy = self.folder / "w4a6.lathe", self.folder / "copy.lathe"
        self.json("quantize", "tiny", out, "--method", "rtn", "--codec", "BIPOLAR", "--bits", "4", "--activation-bits",
                  "6")
        self.json("convert", out, copy)
        wide = self.folder / "w4.lathe"
        self.json("quantize", "tiny", wide, "--method", "rtn", "--codec", "BIPOLAR", "--bits", "4")
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a girl named Lily. She had a big red ball. " * 10)
        one, other, plain, scalar = (
            self.json("perplexity", m, "-f", text, "-c", "64", "--kernel", kernel)["perplexity"]
            for m, kernel in ((out, "auto"), (copy, "auto"), (wide, "auto"), (out, "scalar")))
        self.assertEqual(one, other)
        self.assertAlmostEqual(one, scalar, delta=0.02 * one)
        self.assertNotEqual(one, plain)

    def test_what_cannot_work_is_said_before_any_work(self):
        for arguments, words in (
                (["tiny", "x.gguf", "--codec", "INT_SYM"], ".lathe"),
                (["tiny", "x.lathe", "--method", "gptq", "--codec", "Q4_K"], "INT_SYM"),
                (["tiny", "x.lathe", "--bits", "9"], "1 to 8 bits"),
                (["tiny", "x.lathe", "--activation-bits", "9"], "1 to 8 bits"),
                (["tiny", "x.lathe", "--method", "rtn", "--codec", "Q4_0", "--activation-bits", "8"], "BIPOLAR"),
                (["tiny", "x.lathe", "--method", "db-llm", "--bits", "3"], "2 bits"),
                (["tiny", "x.lathe", "--method", "gtpq"], "gptq"),
                (["tiny", "x.lathe", "--method", "spqr", "--codec", "INT_SYM"], "SPQR"),
                (["tiny", "x.lathe", "--method", "dgq", "--codec", "INT_SYM"], "DGQ"),
                (["tiny", "x.lathe", "--method", "dgq", "--smooth-percentile", "0"], "above 0"),
                (["tiny", "x.lathe", "--method", "shadow", "--codec", "Q8_0"], "W8A8"),
                (["tiny", "x.lathe", "--method", "shadow", "--shadow-prune", "1.5"], "0 to 1"),
                (["tiny", "x.lathe", "--codec", "W8A8", "--method", "rtn", "--bits", "8"], "neither widths"),
                (["tiny"], "OUT"),
        ):
            out = [str(self.folder / word) if word.startswith("x.") else word for word in arguments]
            self.fails(1 if words in ("1 to 8 bits", "2 bits", "neither widths") else 2, "quantize", *out, says=words)
            self.assertEqual(list(self.folder.iterdir()), [])


class Compare(CliTest):
    def test_needs_models_and_text(self):
        self.fails(2, "compare", "-p", "text", says="needs models")
        self.fails(2, "compare", "tiny", says="no text")


class BenchMatmul(CliTest):
    def test_rows(self):
        rows = self.json("bench", "matmul", "--codec", "INT_SYM:2:64,Q4_0", "--shape", "64x128", "--kernel",
                         "auto+dot,auto+lut", "--batch", "1,2")["rows"]
        self.assertEqual(len(rows), 8)
        for row in rows:
            self.assertGreater(row["cached_seconds"], 0)
        self.assertTrue(any("look-up" in row["kernel"] for row in rows))


if __name__ == "__main__":
    unittest.main()
