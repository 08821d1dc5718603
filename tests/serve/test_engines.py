"""Several engines of one model: a request goes to the one that has read its beginning, and every answer is the same."""
import random
import threading
import unittest

from harness import Server, ServeTest

WORDS = ("Once", "Tom", "saw", "a", "red", "ball", "and", "ran", "to", "the", "park", "with", "his", "dog")


class Engines(ServeTest):
    OPTIONS = ("--engines", "2", "--parallel", "8", "--ctx", "2048")

    def engines(self):
        return self.server.status()["models"][0]["engines"]

    def beginnings(self, seed, count=2):
        source = random.Random(seed)
        return [" ".join(source.choice(WORDS) for _ in range(700)) for _ in range(count)]

    def shares(self, ask, seed):
        """How many tokens of prompts each engine has begun for requests of two beginnings, one row for each beginning."""
        rows = []
        for beginning in self.beginnings(seed):
            before = [one["prompt_tokens_seen_total"] for one in self.engines()]
            ask(beginning)
            self.assertIsNone(self.server.at_rest())
            rows.append([one["prompt_tokens_seen_total"] - seen for one, seen in zip(self.engines(), before)])
        return rows

    def test_requests_of_one_beginning_meet_at_one_engine(self):
        def ask(beginning):
            def one(user):
                self.complete(f"{beginning} {WORDS[user]} {WORDS[-user]}", max_tokens=12)
            one(1)
            threads = [threading.Thread(target=one, args=(user,)) for user in range(2, 9)]  # as many as it generates together
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        rows = self.shares(ask, 1)
        for row in rows:
            self.assertGreaterEqual(max(row), 0.9 * sum(row), rows)
        self.assertNotEqual(rows[0].index(max(rows[0])), rows[1].index(max(rows[1])), "strangers take turns")

    def test_programs_of_one_beginning_meet_at_one_engine(self):
        def ask(beginning):
            for user in range(5):
                session = self.server.json("POST", "/v1/session", {})["session_id"]
                calls = [{"template": "{{role}} " + f"{WORDS[user]} {{{{a{i}}}}}", "max_tokens": 8,
                          "parameters": [{"name": f"a{i}", "is_output": True}]} for i in range(3)]
                added = self.server.json("POST", "/v1/semantic_call",
                                         {"session_id": session, "calls": calls, "variables": {"role": beginning}})
                for i in range(3):
                    self.server.json("GET", "/v1/semantic_var/" + added["variables"][f"a{i}"])
                self.server.json("DELETE", f"/v1/session/{session}")

        for row in self.shares(ask, 2):
            self.assertEqual(min(row), 0, row)

    def test_answers_are_those_of_one_engine(self):
        alone = Server("--ctx", "2048")
        try:
            for beginning in self.beginnings(3, 4):
                prompt = beginning[:200]
                self.assertEqual(self.complete(prompt, max_tokens=20)["choices"][0]["text"],
                                 self.complete(prompt, max_tokens=20, server=alone)["choices"][0]["text"])
            embed = {"input": ["Once upon a time"]}
            self.assertEqual(self.server.json("POST", "/v1/embeddings", embed)["data"],
                             alone.json("POST", "/v1/embeddings", embed)["data"])
        finally:
            self.assertEqual(alone.stop(), 0)

    def test_figures_are_sums(self):
        self.complete(max_tokens=3)
        model = self.server.status()["models"][0]
        for name in ("prefill_tokens_total", "decode_tokens_total", "kv_blocks_total", "batch_running"):
            self.assertEqual(model[name], sum(one[name] for one in model["engines"]))
        _, _, metrics = self.server.request("GET", "/metrics")
        self.assertIn(f'lathe_kv_blocks_total{{model="tiny"}} {model["kv_blocks_total"]}', metrics.decode())

    def test_a_session_without_calls(self):
        session = self.server.json("POST", "/v1/session", {})["session_id"]
        self.assertEqual(self.server.json("GET", f"/v1/session/{session}")["nodes"], [])
        self.error("/v1/semantic_call", {"session_id": session, "calls": [{"template": "a {{b"}]}, 400)
        self.error("/v1/semantic_call", {"session_id": session, "calls": ["no object"], "variables": 7}, 400)
        self.server.json("DELETE", f"/v1/session/{session}")


if __name__ == "__main__":
    unittest.main()
