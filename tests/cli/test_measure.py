"""lathe logits, perplexity and bench: numbers against recordings and closed forms."""
import math
import struct
import unittest

from harness import CliTest, golden_json


def log_softmax_at(logits, index):
    largest = max(logits)
    return logits[index] - largest - math.log(sum(math.exp(x - largest) for x in logits))


class Logits(CliTest):
    def test_against_the_peer(self):
        compared = 0
        for run in golden_json("peer/logits-stories260K.json")["runs"]:
            ids = ",".join(map(str, run["ids"]))
            hexadecimal = run["last_logits_f32le"]
            expected = struct.unpack(f"<{len(hexadecimal) // 8}f", bytes.fromhex(hexadecimal))
            result = self.json("logits", "tiny", "--ids", ids, "--kv-codec", "f32")["logits"]
            self.assertEqual(len(result), 1)
            self.assertEqual(len(result[0]), len(expected))
            for ours, theirs in zip(result[0], expected):
                self.assertAlmostEqual(ours, theirs, delta=1e-3)
            compared += 1
        self.assertGreaterEqual(compared, 3)

    def test_top_and_all(self):
        every = self.json("logits", "tiny", "--ids", "1,403,407", "--all")
        self.assertEqual([len(row) for row in every["logits"]], [512, 512, 512])
        top = self.json("logits", "tiny", "--ids", "1,403,407", "--all", "--top", 4)["top"]
        for row, logits in zip(top, every["logits"]):
            ranked = sorted(range(512), key=lambda i: (-logits[i], i))[:4]
            self.assertEqual(row, [[i, logits[i]] for i in ranked])
        last = self.json("logits", "tiny", "--ids", "1,403,407")["logits"]
        self.assertEqual(last, every["logits"][-1:])
        from_text = self.json("logits", "tiny", "-p", "Once upon")
        self.assertEqual(from_text["ids"], [1, 403, 407])
        self.assertEqual(from_text["logits"], last)

    def test_mistakes(self):
        self.fails(1, "logits", "tiny", "--ids", "1,512", "--quiet")
        self.fails(1, "logits", "tiny", "--ids", "1,-3", "--quiet")
        self.fails(2, "logits", "tiny", "--ids", "", "--quiet")
        self.fails(2, "logits", "tiny", "--ids", "1.5", "--quiet")
        self.fails(2, "logits", "tiny", "--quiet")


class Perplexity(CliTest):
    TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 2

    def test_is_what_the_logits_say(self):
        result = self.json("perplexity", "tiny", "-p", self.TEXT, "-c", 16)
        ids = self.json("tokenize", "tiny", "-p", self.TEXT, "--no-special")["ids"]
        total, count = 0.0, 0
        for at in range(0, len(ids), 15):
            window = [1] + ids[at : at + 15]
            rows = self.json("logits", "tiny", "--ids", ",".join(map(str, window)), "--all")["logits"]
            for position in range(len(window) - 1):
                total -= log_softmax_at(rows[position], window[position + 1])
                count += 1
        self.assertEqual(result["tokens"], count)
        self.assertAlmostEqual(result["nll"], total / count, places=4)
        self.assertAlmostEqual(result["perplexity"], math.exp(total / count), places=3)

    def test_protocol_of_the_peer(self):
        windows = 6
        for run in golden_json("peer/perplexity.json")["runs"]:
            if run["model"] != "stories260K" or run["kv_type"] != "f32":
                continue
            text = self.need_shared("data/" + run["text"])
            part = self.folder / "text.txt"
            part.write_bytes(text.read_bytes()[: run["bytes"]])
            result = self.json("perplexity", "tiny", "-f", part, "-c", 512, "--protocol", "llama.cpp", "--kv-codec", "f32",
                               "--windows", windows)
            self.assertEqual(result["tokens"], 255 * windows)
            self.assertEqual(result["text_tokens"], run["tokens"])
            self.assertAlmostEqual(result["perplexity"] / run["running"][windows - 1], 1, delta=1e-4)

    def test_for_people_and_mistakes(self):
        text = self.lathe("perplexity", "tiny", "-p", self.TEXT).stdout
        self.assertTrue(text.startswith("perplexity "), text)
        self.fails(1, "perplexity", "tiny", "-p", "", "--quiet", says="too few")
        self.fails(1, "perplexity", "tiny", "-p", "short", "--protocol", "llama.cpp", "--quiet", says="too few")
        self.fails(2, "perplexity", "tiny", "-p", "x", "--protocol", "llamacpp", says="llama.cpp")
        self.fails(2, "perplexity", "tiny")


class Bench(CliTest):
    def test_fields(self):
        result = self.json("bench", "tiny", "-p", 32, "-n", 8, "--repeat", 2, "--batch", "1,3", "-t", 1)
        self.assertGreater(result["prefill"]["tokens_per_second"], 0)
        decode = result["decode"]
        for field in ("tokens_per_second", "bytes_per_token", "bandwidth_gbps", "fraction_of_peak_bandwidth"):
            self.assertGreater(decode[field], 0, field)
        self.assertAlmostEqual(decode["fraction_of_peak_bandwidth"],
                               decode["bandwidth_gbps"] / decode["peak_bandwidth_gbps"], places=6)
        # Every matrix once: all of the 1.17 MB but the embedding table, of which one row, and the cache.
        self.assertGreater(decode["weight_bytes_per_token"], 900_000)
        self.assertLess(decode["weight_bytes_per_token"], 1_200_000)
        self.assertGreater(result["peak_rss_bytes"], 1_000_000)
        self.assertEqual([row["batch"] for row in result["batches"]], [1, 3])
        self.assertEqual(result["batches"][1]["prefill"]["tokens"], 96)

    # A file that only Lathe reads, both codecs in turn; what a token reads is what the file says its matrices take.
    def test_quantized_files(self):
        for method, options in (("rtn", ("--codec", "INT_SYM", "--bits", 4, "--group", 32)), ("spqr", ("--bits", 4))):
            out = self.folder / f"{method}.lathe"
            made = self.json("quantize", "tiny", out, "--method", method, *options, "--calibration-sequences", 4,
                             "--calibration-tokens", 64)
            result = self.json("bench", out, "-p", 32, "-n", 8, "--repeat", 1, "--batch", "1,3", "-t", 1)
            self.assertGreater(result["prefill"]["tokens_per_second"], 0)
            self.assertGreater(result["decode"]["tokens_per_second"], 0)
            self.assertEqual([row["batch"] for row in result["batches"]], [1, 3])
            read = result["decode"]["weight_bytes_per_token"]
            matrices = sum(t["bytes"] for t in made["per_tensor"] if t["name"] != "token_embd.weight")
            self.assertGreater(read, 0.9 * matrices)
            self.assertLess(read, 1.25 * matrices, "kernels pad rows and repeat a group's scale for a tile")
            self.assertLess(read, 0.4 * self.json("bench", "tiny", "-p", 32, "-n", 8, "--repeat", 1, "-t", 1)
                            ["decode"]["weight_bytes_per_token"])

    def test_mistakes(self):
        self.fails(2, "bench", "tiny", "--repeat", 0)
        self.fails(2, "bench", "tiny", "--batch", "0")
        self.fails(2, "bench", "tiny", "--batch", "")


if __name__ == "__main__":
    unittest.main()
