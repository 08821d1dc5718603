"""lathe info, convert and synth: what files hold, and that rewriting them loses nothing."""
import unittest

from harness import TINY_FILE, CliTest


class Info(CliTest):
    def test_fields(self):
        info = self.json("info", "tiny")
        self.assertEqual(info["architecture"], "llama")
        self.assertEqual(info["bytes"], sum(tensor["bytes"] for tensor in info["tensors"]))
        self.assertEqual(info["parameters"], 292800)  # 512 x 64 twice, 5 layers, one norm
        self.assertEqual(info["bits_per_weight"], 32)
        tensors = {tensor["name"]: tensor for tensor in info["tensors"]}
        self.assertEqual(tensors["token_embd.weight"]["shape"], [512, 64])
        self.assertEqual(tensors["token_embd.weight"]["codec"], "F32")
        self.assertEqual(info["tokenizer"]["size"], 512)
        from_file = self.json("info", TINY_FILE)
        self.assertEqual(from_file["tensors"], info["tensors"])

    def test_for_people(self):
        table = self.lathe("info", "tiny").stdout
        self.assertIn("blk.4.ffn_down.weight", table)
        self.assertIn("292800", table)
        ops = self.lathe("info", "tiny", "--ops").stdout
        self.assertGreater(len(ops.splitlines()), 40)
        self.assertIn("attention", ops.lower())


class Convert(CliTest):
    def ids(self, model):
        return self.json("run", model, "-p", "Once upon a time", "-n", 24, "--temperature", 0)["ids"]

    def test_every_format_and_back(self):
        expected = self.ids("tiny")
        tensors = self.json("info", "tiny")["tensors"]
        for name in ("a.gguf", "a.safetensors", "a.lathe", "folder/"):
            with self.subTest(name):
                there, back = self.folder / name, self.folder / (name.strip("/") + ".back.gguf")
                result = self.json("convert", "tiny", str(self.folder) + "/" + name)
                self.assertEqual(result["tensors"], len(tensors))
                self.assertGreater(result["bytes"], 0)
                self.assertEqual(self.ids(there), expected)
                self.lathe("convert", there, back)
                self.assertEqual(self.json("info", back)["tensors"], tensors)

    def test_dtype(self):
        for codec, bits in (("F16", 16), ("q8_0", 8.5)):
            path = self.folder / f"{codec}.gguf"
            self.lathe("convert", "tiny", path, "--dtype", codec, "--quiet")
            info = self.json("info", path)
            self.assertIn(codec.upper(), {tensor["codec"] for tensor in info["tensors"]})
            self.assertLess(info["bits_per_weight"], 2.1 * bits)
        self.fails(1, "convert", "tiny", self.folder / "x.gguf", "--dtype", "Q8_1_1", says="Q8_1")
        self.assertFalse((self.folder / "x.gguf").exists())

    def test_split(self):
        self.lathe("convert", "tiny", self.folder / "s.gguf", "--split-size", "500K")
        parts = sorted(p for p in self.folder.iterdir() if p.suffix == ".gguf")
        self.assertGreater(len(parts), 1)
        self.assertEqual(self.ids(parts[0]), self.ids("tiny"))

    def test_unknown_kinds(self):
        self.fails(2, "convert", "tiny", self.folder / "x.guff", says=".gguf")
        self.fails(2, "convert", "tiny", self.folder / "x.safetensor", says=".safetensors")


class Synth(CliTest):
    def test_same_seed_same_file(self):
        args = ("synth", "llama", "--layers", 2, "--width", 64, "--heads", 4, "--kv-heads", 2, "--ffn", 96, "--vocab", 512)
        first = self.json(*args, "--codec", "F16", self.folder / "a.gguf")
        self.assertEqual(first["bytes"], (self.folder / "a.gguf").stat().st_size)
        self.json(*args, "--codec", "F16", self.folder / "b.gguf")
        self.json(*args, "--codec", "F16", "--seed", 9, self.folder / "c.gguf")
        bytes_of = {name: (self.folder / f"{name}.gguf").read_bytes() for name in "abc"}
        self.assertEqual(bytes_of["a"], bytes_of["b"])
        self.assertNotEqual(bytes_of["a"], bytes_of["c"])
        info = self.json("info", self.folder / "a.gguf")
        self.assertEqual((info["layers"], info["width"], info["heads"], info["kv_heads"]), (2, 64, 4, 2))
        self.assertEqual((info["ffn_width"], info["vocab_size"], info["head_dim"]), (96, 512, 16))
        self.assertEqual(info["parameters"], first["parameters"])
        self.assertEqual(len(self.json("run", self.folder / "a.gguf", "-p", "x", "-n", 3, "--ignore-eos")["ids"]), 3)

    def test_families(self):
        for name in ("llama-tiny", "gpt2-tiny"):
            path = self.folder / f"{name}.gguf"
            self.lathe("synth", name, path, "--quiet", "--codec", "Q8_0")
            self.assertEqual(self.json("info", path)["architecture"], name.split("-")[0])
            self.assertEqual(len(self.json("run", path, "-p", "hello", "-n", 3, "--ignore-eos")["ids"]), 3)

    def test_mistakes(self):
        self.fails(2, "synth", "lama-1b", self.folder / "x.gguf", says="llama-1b")
        self.fails(2, "synth", "llama", self.folder / "x.gguf", "--width", 65, "--heads", 4, says="65")
        self.fails(1, "synth", "llama-tiny", self.folder / "x.gguf", "--codec", "Q99", says="Q9")
        self.fails(2, "synth", "llama-tiny", says="OUT")


if __name__ == "__main__":
    unittest.main()
