"""lathe quantize, compare, bench matmul and bench attention, as a user runs them."""
import json
import pathlib
import re
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
        for method, codec, *options in (("spqr", "SPQR_ORDERED", "--bits", 3), ("bitmod", "BITMOD", "--bits", 4),
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

    def test_experts(self):
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a girl named Lily. She had a big red ball. " * 100)
        model = self.folder / "moe.gguf"
        self.json("synth", "qwen2moe-tiny", model, "--codec", "F16")
        for name, codec, *options in (("small.lathe", "INT_SYM", "--bits", 4, "--group", 32),
                                      ("small.gguf", "Q4_0", "--codec", "Q4_0")):
            out, copy = self.folder / name, self.folder / f"copy-{name}"
            result = self.json("quantize", model, out, *options, "--calibration", text, "--calibration-tokens", "64",
                               "--calibration-sequences", "8")
            self.assertGreater(result["experts"], 0)
            self.assertLess(result["bits_per_weight"], 7)
            codecs = {tensor["name"]: tensor["codec"] for tensor in self.json("info", out)["tensors"]}
            experts = [name for name in codecs if re.search(r"\.ffn_(gate|up|down)[._]", name) and "_inp" not in name]
            self.assertEqual(len(experts), 4 * 3 * 9)  # four layers of eight experts and a shared one
            self.assertEqual({codecs[name] for name in experts}, {codec})
            self.assertNotIn(codec, {codecs[name] for name in codecs if "_inp" in name})
            self.json("convert", out, copy)
            one, other, wide = (self.json("perplexity", m, "-f", text, "-c", "64")["perplexity"]
                                for m in (out, copy, model))
            self.assertEqual(one, other)
            self.assertAlmostEqual(one, wide, delta=0.2 * wide)
            self.json("run", out, "-p", "Once upon", "-n", "4", "--temperature", "0")

    def test_spqr_keeps_the_order_of_its_columns(self):
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a girl named Lily. She had a big red ball. " * 40)
        out, copy, floats = (self.folder / name for name in ("ordered.lathe", "copy.lathe", "floats.gguf"))
        def quantize(path, *options):
            self.json("quantize", "tiny", path, "--method", "spqr", "--bits", "4", *options, "--calibration", text,
                      "--calibration-tokens", "64", "--calibration-sequences", "8")
        quantize(out)
        for options, same in ((("--codec", "SPQR", "--act-order"), True), (("--codec", "SPQR"), False)):
            quantize(copy, *options)
            self.assertEqual(out.read_bytes() == copy.read_bytes(), same, options)
        self.json("convert", out, copy)
        self.json("convert", out, floats, "--dtype", "F16")
        codecs = {tensor["name"]: tensor["codec"] for tensor in self.json("info", copy)["tensors"]}
        self.assertEqual({codecs[f"blk.{layer}.{linear}.weight"] for layer in range(5)
                          for linear in ("attn_q", "attn_output", "ffn_up", "ffn_down")}, {"SPQR_ORDERED"})
        original, one, other, scalar, plain = (
            self.json("perplexity", m, "-f", text, "-c", "64", "--kernel", kernel)["perplexity"]
            for m, kernel in (("tiny", "auto"), (out, "auto"), (copy, "auto"), (out, "scalar"), (floats, "auto")))
        self.assertEqual(one, other)
        for perplexity in (original, scalar, plain):
            self.assertAlmostEqual(one, perplexity, delta=0.05 * perplexity)
        texts = {self.json("run", m, "-p", "Once upon", "-n", "12", "--temperature", "0")["text"] for m in (out, copy)}
        self.assertEqual(len(texts), 1)

    def test_spqr_files_have_the_bits_of_the_formula(self):
        """b + 2 * 3 / 16 + 64 / 256 and 32 for each outlier (section 3 of the paper), 16 for each place in an order."""
        model = self.folder / "wide.gguf"
        self.json("synth", "llama", model, "--layers", "1", "--width", "1024", "--heads", "8", "--kv-heads", "1", "--ffn",
                  "64", "--vocab", "512", "--codec", "F16")
        for codec in ("SPQR", "SPQR_ORDERED"):
            out = self.folder / f"{codec}.lathe"
            self.json("quantize", model, out, "--method", "rtn", "--codec", codec, "--bits", "3")
            data = out.read_bytes()
            header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
            name = "blk.0.attn_q.weight/"
            parts = {key.removeprefix(name): part for key, part in header.items() if key.startswith(name)}
            size = sum(part["data_offsets"][1] - part["data_offsets"][0] for part in parts.values())
            weights, outliers = 1024 * 1024, parts["outliers"]["shape"][0]
            self.assertAlmostEqual(outliers / weights, 0.01, delta=0.0005)
            formula = 3 + 6 / 16 + 64 / 256 + 32 * outliers / weights + ("order" in parts) * 16 / 1024
            self.assertEqual("order" in parts, codec == "SPQR_ORDERED")
            self.assertAlmostEqual(8 * size / weights, formula, delta=0.01 * formula)

    def test_mixes_choose_codecs_by_tensor(self):
        listed = self.json("quantize", "--list")
        self.assertEqual([mix["name"] for mix in listed["mixes"] if mix["name"].startswith("Q4")], ["Q4_K_S", "Q4_K_M"])
        self.assertFalse({mix["name"] for mix in listed["mixes"]} & {codec["name"] for codec in listed["codecs"]})
        for shape in ("llama-tiny", "mixtral-tiny"):
            plain, synthetic, out, folder = (self.folder / f"{shape}-{name}"
                                             for name in ("plain.gguf", "synth.gguf", "quant.gguf", "folder"))
            self.json("synth", shape, plain, "--codec", "F32")
            self.json("synth", shape, synthetic, "--codec", "q4_k_m")
            done = self.json("quantize", plain, out, "--codec", "Q4_K_M")  # rtn, since gptq knows no Q4_K
            codecs = [{t["name"]: t["codec"] for t in self.json("info", path)["tensors"]} for path in (synthetic, out)]
            self.assertEqual(codecs[0], codecs[1])
            self.assertEqual({t["name"]: t["codec"] for t in done["per_tensor"]},
                             {name: codec for name, codec in codecs[1].items() if not re.search("norm|_inp", name)})
            self.assertEqual(codecs[1]["output.weight"], "Q6_K")
            self.assertEqual(codecs[1]["token_embd.weight"], "Q4_K")
            self.assertEqual({codecs[1][name] for name in codecs[1] if "blk.3.ffn_down" in name}, {"Q6_K"})
            self.assertEqual({codecs[1][name] for name in codecs[1] if "blk.0.ffn_down" in name}, {"Q4_K"})
            self.assertEqual(self.lathe("info", out).stdout, self.lathe("info", synthetic).stdout.replace(
                str(synthetic), str(out)))
            self.assertEqual(len(self.json("run", out, "-p", "a", "-n", "4", "--temperature", "0")["ids"]), 4)
            kept = self.folder / f"{shape}-kept.gguf"
            self.json("quantize", plain, kept, "--codec", "Q4_K_M", "--embedding", "keep", "--head", "Q8_0")
            codecs = {t["name"]: t["codec"] for t in self.json("info", kept)["tensors"]}
            self.assertEqual((codecs["token_embd.weight"], codecs["output.weight"]), ("F32", "Q8_0"))
            self.fails(2, "quantize", plain, folder, "--codec", "Q4_K_M", says="cannot hold")
            self.fails(2, "quantize", plain, out, "--codec", "Q4_K_M", "--method", "gptq", says="cannot choose")

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
                (["tiny", "x.lathe", "--embedding", "INT_SYM:99:64"], "--embedding: "),
                (["tiny", "x.lathe", "--head", "SLIM:9:7"], "--head: "),
                (["tiny", "x.lathe", "--embedding", "Q4_0:7:3"], "one width"),
                (["tiny", "x.lathe", "--embedding", "INT_SYM:4:64:8:1"], "CODEC:BITS"),
                (["tiny", "x.lathe", "--codec", "Q4_0", "--bits", "3"], "one width"),
                (["tiny", "x.lathe", "--codec", "Q4_K_M", "--group", "64"], "one width"),
                (["tiny", "x.lathe", "--method", "gptq", "--alpha", "0.5"], "smoothquant+"),
                (["tiny", "x.lathe", "--method", "rtn", "--even-widths"], "slim-llm"),
                (["tiny"], "OUT"),
        ):
            out = [str(self.folder / word) if word.startswith("x.") else word for word in arguments]
            self.fails(2, "quantize", *out, says=words)
            self.assertEqual(list(self.folder.iterdir()), [])


    def test_info_tells_what_codecs_chose(self):
        for method, more, pattern in (
                ("slim-llm", ["--group", "16"], r"widths [123]+$"),
                ("bitmod", ["--group", "32"], r"groups ER\+ [\d.]+% ER- [\d.]+% EA\+ [\d.]+% EA- [\d.]+%$"),
                ("db-llm", [], r"ones [\d.]+% [\d.]+%$")):
            out = self.folder / f"{method}.lathe"
            report = self.json("quantize", "tiny", out, "--method", method, *more, "--calibration-sequences", "2",
                               "--calibration-tokens", "32")
            told = {t["name"]: t["remark"] for t in self.json("info", out, "--quantization")["tensors"]}
            self.assertEqual(told, {t["name"]: t["remark"] for t in report["per_tensor"] if "remark" in t})
            self.assertRegex(told["blk.0.ffn_up.weight"], pattern)
            shares = [float(share) for share in re.findall(r"([\d.]+)%", told["blk.0.ffn_up.weight"])]
            if method == "bitmod":
                self.assertAlmostEqual(sum(shares), 100, delta=0.3)
            self.assertEqual([share for share in shares if not 0 < share < 100], [])
        self.assertIn("no tensor", self.lathe("info", "tiny", "--quantization").stdout)

    def test_output_that_is_a_folder_or_cannot_be_made(self):
        folder = self.folder / "w.lathe"
        folder.mkdir()
        self.fails(2, "quantize", "tiny", folder, "--method", "rtn", says=("a folder that exists", ".lathe"))
        self.assertEqual(list(folder.iterdir()), [])
        self.fails(1, "quantize", "tiny", "/proc/none/w.lathe", "--method", "rtn", "--quiet",
                   says=("/proc/none/w.lathe.partial", "cannot create"))


class Compare(CliTest):
    def test_a_model_that_cannot_be_compared_leaves_the_others(self):
        bad = self.folder / "bad.gguf"
        bad.write_bytes(b"no model")
        text = "Once upon a time there was a little girl."
        result = self.lathe("compare", "tiny", bad, "tiny", "-p", text, "--no-speed", "--json", "--quiet", status=1)
        first, second, third = json.loads(result.stdout)["rows"]
        self.assertEqual(set(second), {"model", "error"})
        self.assertIn("bad.gguf", second["error"])
        self.assertEqual(first["perplexity"], third["perplexity"])
        table = self.lathe("compare", "tiny", bad, "-p", text, "--no-speed", "--quiet", status=1).stdout
        self.assertIn("n/a: ", table)
        self.fails(1, "compare", bad, "tiny", "-p", text, says="bad.gguf")

    def test_a_plot_of_speeds_needs_speeds(self):
        self.fails(2, "compare", "tiny", "-p", "text", "--no-speed", "--speed-plot", self.folder / "x.svg",
                   says="--speed-plot")

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

    def test_bad_usage_is_refused_before_anything_is_written(self):
        for args, says in [(["--codec", "Q4_0,Q9"], "Q9"), (["--codec", "INT_SYM:9:128"], "1 to 8 bits"), (["--codec", "INT_SYM:x"], "INT_SYM:x"),
                           (["--shape", "64x128,64"], "OUTPUTSxINPUTS"), (["--shape", "64x33", "--codec", "Q4_0"], "64x33"),
                           (["--batch", "1,0"], "--batch"), (["--kernel", "auto,odd"], "odd"), (["-t", "99999"], "threads")]:
            self.fails(2, "bench", "matmul", *args, says=says)

    def test_codecs_have_their_usual_parameters(self):
        rows = self.json("bench", "matmul", "--codec", "INT_SYM,INT_SYM:4:128,DGQ", "--shape", "64x128", "--kernel",
                         "auto")["rows"]
        self.assertEqual(rows[0]["bytes"], rows[1]["bytes"])
        self.assertEqual(len(rows), 3)
        self.fails(2, "bench", "matmul", "--codec", "INT_SYM:9", "--shape", "64x128", "--json", says="1 to 8 bits")


class BenchAttention(CliTest):
    def test_rows(self):
        report = self.json("bench", "attention", "--context", "64,100", "--rows", "33,1", "--heads", "4", "--kv-heads", "2", "--head-dim",
                           "16", "--kv-codec", "f32,int8", "-t", "1")
        self.assertEqual((report["heads"], report["kv_heads"], report["head_dim"], report["threads"]), (4, 2, 16, 1))
        self.assertGreater(report["peak_bandwidth_gbps"], 0)
        rows = report["rows"]
        self.assertEqual([(row["context"], row["rows"], row["kv_codec"]) for row in rows],
                         [(context, row, codec) for context in (64, 100) for row in (33, 1) for codec in ("f32", "int8")])
        for row in rows:
            self.assertGreater(row["cached_seconds"], 0)
            share = row["bytes"] / row["streamed_seconds"] / 1e9 / report["peak_bandwidth_gbps"]
            self.assertAlmostEqual(row["fraction_of_peak_bandwidth"] / share, 1, places=6)
            # Pairs of tokens that see each other, two products and sums for each of 4 * 16 elements.
            pairs = sum(range(row["context"] - row["rows"] + 1, row["context"] + 1))
            self.assertEqual(row["flops"], 4 * pairs * 4 * 16)
        # Keys and values of whole blocks of 32 tokens.
        self.assertEqual([row["bytes"] for row in rows if row["kv_codec"] == "f32" and row["rows"] == 1],
                         [blocks * 32 * 2 * 2 * 16 * 4 for blocks in (2, 4)])
        table = self.lathe("bench", "attention", "--context", "64", "--heads", "2", "--kv-heads", "1", "--head-dim", "8", "--kv-codec", "int8")
        self.assertEqual(len(table.stdout.splitlines()), 2)
        self.assertIn("of peak", table.stdout)

    def test_bad_usage_is_refused_before_anything_is_written(self):
        for args, says in [(["--heads", "6", "--kv-heads", "4"], "--kv-heads"), (["--rows", "65", "--context", "64"], "--rows 65"),
                           (["--kv-codec", "f16,f17"], "f17"), (["--context", "x"], "--context"), (["--head-dim", "0"], "--head-dim"),
                           (["--kernel", "odd"], "odd"), (["-t", "99999"], "threads"), (["--contxt", "1"], "'--context'")]:
            self.fails(2, "bench", "attention", *args, says=says)
        self.assertIn("--kv-heads", self.lathe("bench", "attention", "-h").stdout)


if __name__ == "__main__":
    unittest.main()
