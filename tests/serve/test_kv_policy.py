"""Requests choose which cached tokens they attend to: with the same texts as by themselves, within what the server
offers, and with everything given back."""
import json
import pathlib
import random
import subprocess
import tempfile
import threading
import unittest

from harness import PROGRAM, Server, ServeTest

STORY = "Once upon a time there was a little dog. " * 60
FULL, SINKS = "full", {"name": "sinks", "sinks": 4, "window": 96}
MEMORY = {"name": "infllm", "sinks": 32, "window": 128, "block": 32, "blocks": 4, "step": 64}


class Chosen(ServeTest):
    OPTIONS = ("--ctx", "2048", "--parallel", "8")

    def text(self, policy=None, prompt=STORY, server=None, **more):
        fields = {} if policy is None else {"kv_policy": policy}
        return self.complete(prompt, server=server, max_tokens=24, ignore_eos=True, **fields, **more)["choices"][0]["text"]

    def alone(self, policy, prompt=STORY):
        """What lathe run says with the policy as an option."""
        words = {"full": "full", "sinks": "sinks:{sinks}+{window}",
                 "infllm": "infllm:{sinks}+{window},block={block},blocks={blocks},step={step}"}
        numbers = policy if isinstance(policy, dict) else {}
        option = words[numbers.get("name", policy)].format(**numbers)
        done = subprocess.run([PROGRAM, "run", "tiny", "-p", prompt, "-n", "24", "--temperature", "0", "--ignore-eos", "-c", "2048",
                               "--repeat-penalty", "1", "--kv-policy", option, "--json"], capture_output=True, check=True)
        return json.loads(done.stdout)["text"]

    def test_every_endpoint_takes_it(self):
        texts = {}
        for policy in (FULL, SINKS, MEMORY):
            name = policy if policy == FULL else policy["name"]
            texts[name] = self.alone(policy)
            self.assertEqual(self.text(policy), texts[name], name)
        self.assertEqual(len(set(texts.values())), 3, texts)
        self.assertEqual(self.text(), texts["full"])
        calls = [{"template": "{{story}}{{a}}", "parameters": [{"name": "a", "is_output": True}]},
                 {"template": "{{story}}{{b}}", "kv_policy": FULL,
                  "parameters": [{"name": "b", "is_output": True, "sampling_config": {"kv_policy": SINKS}}]},
                 {"template": "{{story}}{{c}}", "kv_policy": FULL, "parameters": [{"name": "c", "is_output": True}]}]
        for call in calls:
            call.update(temperature=0, max_tokens=24, ignore_eos=True)
        program = {"kv_policy": MEMORY, "calls": calls, "variables": {"story": STORY}}
        outputs = self.server.json("POST", "/v1/program", program)["outputs"]
        self.assertEqual([outputs[name]["content"] for name in "abc"], [texts["infllm"], texts["sinks"], texts["full"]])
        session = self.server.json("POST", "/v1/session", {"kv_policy": SINKS})["session_id"]
        added = self.server.json("POST", "/v1/semantic_call", {"session_id": session, "calls": calls[:1], "variables": {"story": STORY}})
        self.assertEqual(self.server.json("GET", "/v1/semantic_var/" + added["variables"]["a"])["content"], texts["sinks"])
        self.server.json("DELETE", f"/v1/session/{session}")
        ask = {"temperature": 0, "messages": [{"role": "user", "content": STORY}], "max_tokens": 24, "ignore_eos": True}
        chat = [self.server.json("POST", "/v1/chat/completions", {**ask, "kv_policy": policy})["choices"][0]["message"]["content"]
                for policy in (FULL, SINKS, MEMORY)]
        del ask["messages"], ask["max_tokens"]
        said = [self.server.json("POST", "/v1/responses", {**ask, "input": STORY, "max_output_tokens": 24, "kv_policy": policy})
                ["output"][0]["content"][0]["text"] for policy in (FULL, SINKS, MEMORY)]
        self.assertEqual(said, chat)
        self.assertEqual(len(set(chat)), 3)

    def test_a_mixed_batch_says_what_each_says_alone(self):
        asked = [(policy, STORY[:cut]) for cut in (2400, 2000, 1500) for policy in (FULL, SINKS, MEMORY)]
        expected = [self.alone(*one) for one in asked]
        texts = [None] * len(asked)

        def one(i):
            texts[i] = self.text(*asked[i])

        for _ in range(2):
            threads = [threading.Thread(target=one, args=(i,)) for i in range(len(asked))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(texts, expected)

    def test_prefixes_are_shared_within_a_policy_only(self):
        def figures(policy):
            before = self.server.status()["models"][0]
            self.text(policy, prompt="Sue " + STORY[:1200])
            after = self.server.status()["models"][0]
            return [after[name] - before[name] for name in
                    ("prefix_hit_tokens_total", "prompt_tokens_unshared_total", "prompt_tokens_seen_total")]

        for policy in (FULL, {**SINKS, "window": 1000}):
            self.assertEqual(figures(policy)[:2], [0, 0])
            hits, unshared, seen = figures(policy)
            self.assertGreater(hits, seen / 2)
            self.assertEqual(unshared, 0)
        for _ in range(2):
            hits, unshared, seen = figures(MEMORY)
            self.assertEqual([hits, unshared], [0, seen])
        metrics = self.server.request("GET", "/metrics")[2].decode()
        self.assertRegex(metrics, r'(?m)^lathe_prompt_tokens_unshared_total\{model="tiny"\} [1-9]')

    def test_what_cannot_be_is_said(self):
        for policy, param, code in (
                ("most", "kv_policy", "kv_policy_not_offered"), (7, "kv_policy", "invalid_type"), ([], "kv_policy", "invalid_type"),
                ({}, "kv_policy.name", "missing_required_parameter"), ({"name": 7}, "kv_policy.name", "invalid_type"),
                ("infllm:4+64", "kv_policy", "kv_policy_not_offered"),
                ({"name": "full", "window": 9}, "kv_policy.window", "unknown_parameter"),
                ({"name": "sinks", "blocks": 9}, "kv_policy.blocks", "unknown_parameter"),
                ({"name": "sinks", "window": 0}, "kv_policy.window", "invalid_value"),
                ({"name": "sinks", "sinks": -1}, "kv_policy.sinks", "invalid_value"),
                ({"name": "sinks", "window": 2 ** 63}, "kv_policy.window", "invalid_value"),
                ({"name": "infllm", "window": 1.5}, "kv_policy.window", "invalid_type"),
                ({"name": "infllm", "window": 5000}, "kv_policy.window", "invalid_value"),  # of the server
                ({"name": "infllm", "window": 4096}, "kv_policy", "unsupported_kv_policy"),  # of the model
                ({"name": "infllm", "sinks": 33}, "kv_policy", "unsupported_kv_policy"),
                ({"name": "infllm", "window": 64}, "kv_policy", "unsupported_kv_policy"),  # shorter than a block
                ({"name": "infllm", "step": 250}, "kv_policy", "unsupported_kv_policy"),  # 256 rows, 8 decode
                ({"name": "infllm", "representatives": 200}, "kv_policy", "unsupported_kv_policy"),
                ({"name": "infllm", "block": 1024, "blocks": 5}, "kv_policy.blocks", "invalid_value"),
                ({"name": "infllm", "choice": "random"}, "kv_policy.choice", "unknown_parameter")):
            with self.subTest(policy=policy):
                self.error("/v1/completions", {"prompt": "Tom", "kv_policy": policy}, 400, code, param)
        self.error("/v1/session", {"kv_policy": "most"}, 400, "kv_policy_not_offered", "kv_policy")
        self.error("/v1/embeddings", {"input": "Tom", "kv_policy": "full"}, 400, "unknown_parameter", "kv_policy")
        call = {"template": "Tom {{a}}", "kv_policy": "most", "parameters": [{"name": "a", "is_output": True}]}
        self.error("/v1/program", {"calls": [call]}, 400, "kv_policy_not_offered", "calls[0].parameters 'a'.kv_policy")
        self.assertEqual(self.text(None, prompt="Tom"), self.complete("Tom", max_tokens=24, ignore_eos=True, kv_policy=None)["choices"][0]["text"])

    def test_a_server_says_what_it_offers(self):
        self.assertEqual([self.server.status()["models"][0][name] for name in ("kv_policy", "request_kv_policies")],
                         ["full", ["full", "sinks", "infllm"]])
        own = "infllm:32+128,block=32,blocks=4,step=64"
        narrow = Server("--ctx", "2048", "--kv-policy", own, "--request-kv-policies", "infllm", "--request-kv-tokens", "100")
        try:
            self.assertEqual(narrow.status()["models"][0]["request_kv_policies"], ["infllm"])
            # A name alone is the server's own policy, and the server's own numbers are within every bound.
            self.assertEqual(self.text("infllm", server=narrow), self.alone(MEMORY))
            self.assertEqual(self.text(None, server=narrow), self.alone(MEMORY))
            self.assertEqual(self.text({"name": "infllm", "blocks": 3, "window": 64}, server=narrow),
                             self.alone({**MEMORY, "blocks": 3, "window": 64}))
            self.complete("Tom", status=400, server=narrow, kv_policy="full")
            self.complete("Tom", status=400, server=narrow, kv_policy={"name": "infllm", "window": 129})
            self.assertIsNone(narrow.at_rest())
        finally:
            self.assertEqual(narrow.stop(), 0)
        none = Server("--request-kv-policies", "none")
        try:
            answer = self.complete("Tom", status=400, server=none, kv_policy="full")
            self.assertIn("may choose none", answer["error"]["message"])
        finally:
            self.assertEqual(none.stop(), 0)
        for option in (("--request-kv-policies", "full,most"), ("--request-kv-policies", ""), ("--request-kv-policies", "sinks:4+8"),
                       ("--request-kv-tokens", "10")):
            done = subprocess.run([PROGRAM, "serve", "--port", "0", *option], capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 2, done.stderr)


class PassKey(unittest.TestCase):
    """A model that copies whatever its attention reaches (tests/reference/induction_model.h), trained for 512 tokens."""

    MEMORY = {"name": "infllm", "sinks": 32, "window": 256, "block": 64, "blocks": 16, "representatives": 8, "step": 64}
    SINKS = {"name": "sinks", "sinks": 32, "window": 1280}  # as many tokens as the memory shows

    def prompt(self, seed, depth, length=4000):
        source = random.Random(seed)
        ids = [source.randrange(64) for _ in range(length)]
        named = source.sample(range(64, 2048), 4 * 25)
        places = sorted({8 * int(depth * (length // 8 - 1)), *(8 * place for place in source.sample(range(length // 8 - 1), 24))})
        phrases = {place: named[4 * i:4 * i + 4] for i, place in enumerate(places)}
        for place, phrase in phrases.items():
            ids[place:place + 4] = phrase
        key, *value = phrases[8 * int(depth * (length // 8 - 1))]
        return " ".join(f"w{one}" for one in [*ids, key]), " ".join(f"w{one}" for one in value)

    def test_a_memory_finds_what_a_window_has_lost(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "copies.gguf"
            subprocess.run([pathlib.Path(PROGRAM).parent / "write_induction_model", file], check=True)
            server = Server("--ctx", "8192", "--parallel", "8", models=(file,))
            try:
                found = {"infllm": 0, "sinks": 0}
                keys = [self.prompt(seed, depth) for seed, depth in enumerate((0.1, 0.25, 0.4, 0.55))]

                def ask(policy, prompt, value):
                    body = {"prompt": prompt, "temperature": 0, "max_tokens": 3, "kv_policy": policy}
                    text = server.json("POST", "/v1/completions", body)["choices"][0]["text"]
                    found[policy["name"]] += text.strip() == value

                # All at once: both policies stand in one batch.
                threads = [threading.Thread(target=ask, args=(policy, *key)) for key in keys for policy in (self.MEMORY, self.SINKS)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                self.assertEqual(found, {"infllm": len(keys), "sinks": 0})
                self.assertIsNone(server.at_rest())
            finally:
                self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
