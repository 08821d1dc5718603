"""How tokens are chosen: every sampler, beam search and adapters of `lathe run` in a request, with the same texts."""
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PROGRAM, ServeTest, http_request
from test_prefix_store import write_adapter

STORY = "Once upon a time"
CHAT = {"messages": [{"role": "user", "content": STORY}]}


def run(*args):
    return json.loads(subprocess.run([PROGRAM, "run", "tiny", "-p", STORY, *map(str, args), "--json"], capture_output=True,
                                     check=True).stdout)


class Samplers(ServeTest):
    def drawn(self, **fields):
        fields = {"temperature": 2, "seed": 7, "max_tokens": 40, "ignore_eos": True, **fields}
        return self.complete(STORY, **fields)["choices"][0]["text"]

    def test_the_same_texts_as_lathe_run(self):
        common = ("-n", 40, "--seed", 7, "--ignore-eos", "--temperature")
        cuts = ("--top-k", 0, "--top-p", 1, "--min-p", 0)
        cases = [((2, *cuts), {}),
                 ((2, *cuts, "--typical", 0.3), {"typical_p": 0.3}),
                 ((2, "--mirostat", 1, "--mirostat-tau", 2, "--mirostat-eta", 0.3),
                  {"mirostat": 1, "mirostat_tau": 2, "mirostat_eta": 0.3}),
                 ((2, "--mirostat", 2, "--mirostat-tau", 3), {"mirostat": 2, "mirostat_tau": 3, "top_p": 1, "top_k": -1}),
                 ((0, "--repeat-penalty", 1.4, "--repeat-window", 4),
                  {"temperature": 0, "repeat_penalty": 1.4, "repeat_window": 4}),
                 ((0, "--repeat-penalty", 1.4, "--repeat-window", 5),
                  {"temperature": 0, "repeat_penalty": 1.4, "repeat_last_n": 5}),
                 ((0, "--repeat-penalty", 1.4, "--repeat-window", 512),
                  {"temperature": 0, "repeat_penalty": 1.4, "repeat_last_n": -1}),
                 ((0, "--repeat-penalty", 1.9, "--repeat-window", 512), {"temperature": 0, "repetition_penalty": 1.9})]
        texts = []
        for flags, fields in cases:
            texts.append(run(*common, *flags)["text"])
            self.assertEqual(self.drawn(**fields), texts[-1], fields)
        self.assertEqual(len(set(texts)), len(texts), texts)  # each decides something
        # What clients of other servers send with everything off.
        self.assertEqual(self.drawn(mirostat=0, mirostat_tau=5, mirostat_eta=0.1, typical_p=1, repetition_penalty=1), texts[0])

    def test_every_endpoint_takes_them(self):
        settings = {"temperature": 2, "seed": 3, "ignore_eos": True, "mirostat": 2, "mirostat_tau": 1}
        plain = {key: value for key, value in settings.items() if not key.startswith("mirostat")}

        def chat(fields):
            return self.server.json("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 24, **fields})["choices"][0]["message"]["content"]

        def response(fields):
            return self.server.json("POST", "/v1/responses", {"input": STORY, "max_output_tokens": 24, **fields})["output"][0]["content"][0]["text"]

        self.assertEqual(chat(settings), response(settings))
        self.assertNotEqual(chat(settings), chat(plain))
        call = {"template": STORY + "{{a}}", "parameters": [{"name": "a", "is_output": True}], "max_tokens": 40}
        program = self.server.json("POST", "/v1/program", {"calls": [{**call, **settings}]})
        self.assertEqual(program["outputs"]["a"]["content"], self.drawn(**settings))

    def test_what_cannot_be_is_said(self):
        for fields, param in (({"typical_p": 0}, "typical_p"), ({"typical_p": 1.5}, "typical_p"), ({"mirostat": 3}, "mirostat"),
                              ({"mirostat": 2, "mirostat_tau": 0}, "mirostat_tau"), ({"mirostat_tau": 4}, "mirostat_tau"),
                              ({"mirostat_eta": 0.1}, "mirostat_eta"), ({"mirostat": 1, "top_k": 5}, "top_k"),
                              ({"mirostat": 1, "top_p": 0.9}, "top_p"), ({"mirostat": 2, "typical_p": 0.9}, "typical_p"),
                              ({"mirostat": 2, "min_p": 0.1}, "min_p"), ({"mirostat": 2, "temperature": 0}, "mirostat"),
                              ({"repeat_window": -1}, "repeat_window"), ({"repeat_last_n": -2}, "repeat_last_n"),
                              ({"repeat_last_n": 5, "repeat_window": 5}, "repeat_last_n"), ({"repeat_window": "all"}, "repeat_window"),
                              ({"repeat_penalty": 1.1, "repetition_penalty": 1.1}, "repetition_penalty")):
            self.error("/v1/completions", {"prompt": STORY, "max_tokens": 4, **fields}, 400, param=param)
            self.error("/v1/chat/completions", {**CHAT, "max_tokens": 4, **fields}, 400, param=param)


class Beams(ServeTest):
    OPTIONS = ("--parallel", "8", "--ctx", "512")

    def search(self, prompt=STORY, **fields):
        return self.server.json("POST", "/v1/completions", {"prompt": prompt, **fields})

    def test_the_texts_and_scores_of_lathe_run(self):
        expected = run("--beams", 5, "--n-best", 3, "-n", 30, "--length-penalty", 1, "-c", 512)["beams"]
        for fields in ({"beams": 5}, {"use_beam_search": True, "best_of": 5, "temperature": 0, "top_k": -1, "top_p": 1}):
            found = self.search(n=3, length_penalty=1, max_tokens=30, **fields)
            self.assertEqual([c["text"] for c in found["choices"]], [one["text"] for one in expected])
            for choice, one in zip(found["choices"], expected):
                self.assertAlmostEqual(choice["cumulative_logprob"], one["logprob"], places=5)
                self.assertAlmostEqual(choice["score"], one["score"], places=5)
            self.assertEqual(found["usage"]["completion_tokens"], sum(len(one["ids"]) for one in expected))
        widest = self.search(use_beam_search=True, n=4, max_tokens=12)["choices"]
        self.assertEqual([c["text"] for c in widest], [one["text"] for one in run("--beams", 4, "--n-best", 4, "-n", 12, "-c", 512)["beams"]])

    def test_prompts_grammars_stops_and_echo(self):
        alone = [self.search(p, beams=3, max_tokens=10)["choices"][0]["text"] for p in ("Tom", "Lily")]
        both = self.search(["Tom", "Lily"], beams=3, max_tokens=10, echo=True)["choices"]
        self.assertEqual([c["text"] for c in both], ["Tom" + alone[0], "Lily" + alone[1]])
        pets = self.search(beams=8, n=8, grammar='root ::= " cat" | " dog"')["choices"]  # in several spellings
        self.assertEqual({c["text"] for c in pets}, {" cat", " dog"})
        few = self.search(beams=8, n=8, grammar='root ::= "a" | "b"')["choices"]
        self.assertLess(len(few), 8)
        self.assertEqual([c["index"] for c in few], list(range(len(few))))
        self.assertTrue(all("there" not in c["text"] for c in self.search(beams=3, n=3, max_tokens=20, stop="there")["choices"]))

    def test_beside_a_batch_nothing_changes(self):
        prompt = STORY + ", there was a dog. " * 30  # read in several passes
        text = self.complete(prompt, max_tokens=60, ignore_eos=True)["choices"][0]["text"]
        best = self.search(prompt, beams=6, max_tokens=30, ignore_eos=True)["choices"][0]["text"]
        got = {}

        def ask(name, **fields):
            got[name] = self.search(prompt, ignore_eos=True, **fields)["choices"][0]["text"]

        threads = [threading.Thread(target=ask, args=(i,), kwargs={"temperature": 0, "max_tokens": 60}) for i in range(4)]
        threads.append(threading.Thread(target=ask, args=("best",), kwargs={"beams": 6, "max_tokens": 30}))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([got[i] for i in range(4)], [text] * 4)
        self.assertEqual(got["best"], best)

    def test_a_client_that_leaves_ends_its_search(self):
        body = json.dumps({"prompt": STORY, "beams": 8, "max_tokens": 500, "ignore_eos": True}).encode()
        gone = [self.server.connect() for _ in range(2)]
        for connection in gone:
            connection.sendall(http_request("POST", "/v1/completions", body))
        until = time.monotonic() + 60
        while True:  # both run: a third is told so
            status, headers, _ = self.server.request("POST", "/v1/completions", {"prompt": STORY, "beams": 2, "max_tokens": 2})
            if status == 429 or time.monotonic() > until:
                break
        self.assertEqual((status, headers["Retry-After"]), (429, "1"))
        for connection in gone:
            connection.close()
        while self.server.request("POST", "/v1/completions", {"prompt": STORY, "beams": 2, "max_tokens": 2})[0] == 429:
            self.assertLess(time.monotonic(), until)

    def test_what_cannot_be_is_said(self):
        for fields, param in (({"beams": 0}, "beams"), ({"beams": 9}, "beams"), ({"use_beam_search": True, "best_of": 9}, "best_of"),
                              ({"beams": 2, "n": 3}, "n"), ({"beams": 2, "stream": True}, "stream"),
                              ({"beams": 2, "logprobs": 1}, "logprobs"), ({"beams": 2, "temperature": 0.5}, "temperature"),
                              ({"beams": 2, "top_k": 4}, "top_k"), ({"beams": 2, "mirostat": 1}, "mirostat"),
                              ({"beams": 2, "logit_bias": {"5": 1}}, "logit_bias"), ({"length_penalty": 1}, "length_penalty"),
                              ({"best_of": 3}, "best_of"), ({"beams": 2, "best_of": 2}, "best_of")):
            self.error("/v1/completions", {"prompt": STORY, "max_tokens": 4, **fields}, 400, param=param)
        for field in ({"beams": 2}, {"use_beam_search": True}):
            (name,) = field
            self.error("/v1/chat/completions", {**CHAT, "max_tokens": 4, **field}, 400, param=name)
            self.error("/v1/responses", {"input": STORY, **field}, 400, param=name)
        self.assertEqual(self.complete(STORY, max_tokens=4, use_beam_search=False)["choices"][0]["finish_reason"], "length")
        self.error("/v1/completions", {"prompt": STORY, "beams": 2, "kv_policy": "infllm"}, 400)


class FewBlocks(ServeTest):
    """Searches that do not fit the KV blocks beside others end with 503; what is generated meanwhile loses nothing."""
    OPTIONS = ("--ctx", "256", "--parallel", "8", "--kv-memory", "1100000")

    def test_what_is_generated_goes_on(self):
        ask = {"prompt": STORY, "max_tokens": 200, "ignore_eos": True}
        alone = self.server.json("POST", "/v1/completions", {**ask, "temperature": 0})["choices"][0]["text"]
        answers = []

        def search():
            answers.append(self.server.request("POST", "/v1/completions", {**ask, "beams": 8})[0])

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            self.assertEqual(self.server.json("POST", "/v1/completions", {**ask, "temperature": 0})["choices"][0]["text"], alone)
        for thread in threads:
            thread.join()
        self.assertTrue(set(answers) <= {200, 503}, answers)


class Adapters(ServeTest):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        cls.addClassCleanup(cls.folder.cleanup)
        folder = pathlib.Path(cls.folder.name)
        cls.one = write_adapter(folder / "one", "q_proj", 2)
        cls.two = write_adapter(folder / "two", "o_proj", 0.4)
        cls.OPTIONS = ("--adapter", f"one={cls.one}", "--adapter", f"two={cls.two}")
        super().setUpClass()

    def text(self, model="tiny", **fields):
        return self.complete(STORY, model=model, max_tokens=30, ignore_eos=True, **fields)["choices"][0]["text"]

    def test_several_at_once_and_scaled(self):
        def alone(*adapters):
            flags = [word for adapter in adapters for word in ("--adapter", adapter)]
            return run("-n", 30, "--temperature", 0, "--ignore-eos", *flags)["text"]

        cases = [([], ()), (["one"], (self.one,)), (["one", "two"], (self.one, self.two)),
                 ([{"name": "one", "scale": 2.5}, {"name": "two"}], (f"{self.one}:2.5", self.two)),
                 ([{"name": "two", "scale": -1}], (f"{self.two}:-1",)), ([{"name": "one", "scale": 0}], ())]
        expected = [alone(*adapters) for _, adapters in cases]
        self.assertEqual(len(set(expected)), 5, expected)
        self.assertEqual([self.text(adapters=field) for field, _ in cases], expected)
        self.assertEqual(self.text("tiny:one+two"), expected[2])
        self.assertEqual(self.text("tiny:two"), alone(self.two))
        got = [None] * len(cases)

        def ask(i):
            got[i] = self.text(adapters=cases[i][0])

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(cases))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(got, expected)  # together as by themselves
        best = run("--beams", 3, "-n", 10, "--adapter", self.one, "--adapter", self.two)["text"]
        self.assertEqual(self.complete(STORY, beams=3, max_tokens=10, adapters=["one", "two"])["choices"][0]["text"], best)

    def test_what_cannot_be_is_said(self):
        def error(fields, status, param):
            self.error("/v1/completions", {"prompt": STORY, "max_tokens": 2, **fields}, status, param=param)

        error({"adapters": ["three"]}, 404, "adapters[0]")
        error({"adapters": ["one", "one"]}, 400, "adapters[1]")
        error({"adapters": "one"}, 400, "adapters")
        error({"adapters": [{"scale": 1}]}, 400, "adapters[0].name")
        error({"adapters": [{"name": "one", "scale": "big"}]}, 400, "adapters[0].scale")
        error({"adapters": [{"name": "one", "weight": 1}]}, 400, "adapters[0].weight")
        error({"adapters": ["two"], "model": "tiny:one"}, 400, "adapters")
        error({"model": "tiny:one+one"}, 404, "model")
        error({"model": "tiny:one+"}, 404, "model")


if __name__ == "__main__":
    unittest.main()
