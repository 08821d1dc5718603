"""Semantic variables (Parrot): programs submitted at once give the texts that a client gets call by call, share what
they share, fail where they must and nowhere else, and leave nothing behind."""
import json
import socket
import threading
import time
import unittest

from harness import Server, ServeTest, http_request

STORY = "Once upon a time"


def output(name, **more):
    return {"name": name, "is_output": True, **more}


class Semantic(ServeTest):
    OPTIONS = ("--ctx", "2048", "--queue", "64")

    def open(self, server=None, **body):
        return (server or self.server).json("POST", "/v1/session", body)["session_id"]

    def call(self, session, status=200, **body):
        return self.server.json("POST", "/v1/semantic_call", {"session_id": session, **body}, status=status)

    def get(self, var_id, query="", status=200):
        return self.server.json("GET", f"/v1/semantic_var/{var_id}{query}", status=status)

    def refused(self, session, status, code, **body):
        answer = self.call(session, status=status, **body)["error"]
        self.assertEqual(answer["code"], code, answer)
        return answer["message"]

    def state(self, session):
        return self.server.json("GET", f"/v1/session/{session}")

    def plain(self, prompt, max_tokens=12):
        """What a client gets that asks for the same text by itself."""
        return self.complete(prompt, max_tokens=max_tokens, ignore_eos=True)["choices"][0]["text"]

    FIXED = {"temperature": 0, "ignore_eos": True, "max_tokens": 12}

    def test_a_chain_says_what_a_client_gets_call_by_call(self):
        calls = [{"template": "{{start}} {{a0}}", "parameters": [output("a0")], **self.FIXED}]
        for i in range(1, 6):
            calls.append({"template": f"{{{{a{i - 1}}}}} and then {{{{a{i}}}}}", "parameters": [output(f"a{i}")], **self.FIXED})
        session = self.open()
        answer = self.call(session, variables={"start": STORY}, calls=calls, want={"a5": "latency"})
        value = self.get(answer["variables"]["a5"])
        text = self.plain(STORY + " ")
        for _ in range(5):
            text = self.plain(text + " and then ")
        self.assertEqual(value["content"], text)
        self.assertEqual(value["usage"]["completion_tokens"], 12)
        nodes = self.state(session)["nodes"]
        self.assertEqual([n["state"] for n in nodes], ["done"] * 6)
        self.assertEqual([n["goal"] for n in nodes], ["latency"] * 6)
        for before, after in zip(nodes, nodes[1:]):
            self.assertGreaterEqual(after["begun"], before["ended"])

    def test_one_template_with_several_outputs(self):
        session = self.open()
        answer = self.call(session, template="{{who}} met {{x}} and {{y}}", **self.FIXED,
                           parameters=[{"name": "who", "value": "Lily"}, output("x"), output("y", transform="trim")])
        ids = {p["name"]: p["var_id"] for p in answer["parameters"]}
        x = self.plain("Lily met ")
        self.assertEqual(self.get(ids["x"])["content"], x)
        self.assertEqual(self.get(ids["y"])["content"], self.plain(f"Lily met {x} and ").strip())

    def test_values_that_are_set_later_start_what_waits_for_them(self):
        session = self.open()
        first = {p["name"]: p["var_id"] for p in self.call(session, template="{{topic}}{{text}}", parameters=[output("text")],
                                                          **self.FIXED)["parameters"]}
        second = self.call(session, template="{{input}}!{{end}}", **self.FIXED,
                           parameters=[{"name": "input", "var_id": first["text"]}, output("end")])["parameters"]
        end = [p["var_id"] for p in second if p["name"] == "end"][0]
        self.assertEqual(self.get(end, "?wait=false")["status"], "pending")
        self.assertEqual(self.get(end, status=409)["error"]["param"], "topic")
        self.server.json("POST", f"/v1/semantic_var/{first['topic']}", {"content": "Tom"})
        self.server.json("POST", f"/v1/semantic_var/{first['topic']}", {"content": "Tim"}, status=409)
        self.server.json("POST", f"/v1/semantic_var/{first['text']}", {"content": "Tim"}, status=409)
        self.assertEqual(self.get(end)["content"], self.plain(self.plain("Tom") + "!"))

    def test_a_stream_is_the_value(self):
        session = self.open()
        slow = {**self.FIXED, "max_tokens": 200}
        var = self.call(session, template="Once {{x}}", parameters=[output("x")], **slow)["parameters"][0]["var_id"]
        status, headers, data = self.server.request("GET", f"/v1/semantic_var/{var}?stream=true")
        self.assertEqual(status, 200)
        events = [json.loads(b[6:]) for b in data.decode().split("\n\n") if b.startswith("data: {")]
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(events[-1]["content"], self.plain("Once ", 200))
        deltas = "".join(e["delta"] for e in events if "delta" in e)
        self.assertIn(deltas, (events[-1]["content"], ""))  # empty when it was ready before the question came

    def test_goals_go_backwards_and_a_reduce_makes_a_group(self):
        maps = [{"template": f"Part {i}: {{{{m{i}}}}}", "parameters": [output(f"m{i}")], **self.FIXED} for i in range(8)]
        reduce = {"template": "".join(f"{{{{m{i}}}}}" for i in range(8)) + "{{all}}", "parameters": [output("all")], **self.FIXED}
        last = {"template": "{{all}}{{end}}", "parameters": [output("end")], **self.FIXED}
        session = self.open()
        ids = self.call(session, calls=[*maps, reduce, last])["variables"]
        got = self.get(ids["end"], "?criteria=latency")
        nodes = self.state(session)["nodes"]
        self.assertEqual([n["goal"] for n in nodes], ["throughput"] * 8 + ["latency"] * 2)
        self.assertEqual(len({n["group"] for n in nodes[:8]}), 1)
        self.assertIsNotNone(nodes[0]["group"])
        self.assertEqual([n["group"] for n in nodes[8:]], [None, None])
        self.assertEqual([n["depth"] for n in nodes], [0] * 8 + [1, 2])
        texts = [self.plain(f"Part {i}: ") for i in range(8)]
        self.assertEqual(got["content"], self.plain(self.plain("".join(texts))))
        other = self.open()
        ids = self.call(other, calls=maps, want={"m0": "throughput"})["variables"]
        self.assertEqual([n["goal"] for n in self.state(other)["nodes"]][:2], ["throughput", "latency"])
        for i in range(8):
            self.get(ids[f"m{i}"])

    def test_a_shared_prompt_is_computed_once(self):
        system = "The rules of the house are many and all of them are good. " * 40
        tokens = self.server.json("POST", "/tokenize", {"content": system, "add_special": True})["count"]
        block = 32
        before = self.server.status()["models"][0]
        calls = [{"template": f"{{{{system}}}} User {i} asks: {{{{u{i}}}}}", "parameters": [output(f"u{i}")],
                  **{**self.FIXED, "max_tokens": 2}} for i in range(16)]
        session = self.open()
        ids = self.call(session, variables={"system": system}, calls=calls)["variables"]
        for i in range(16):
            self.get(ids[f"u{i}"])
        after = self.server.status()["models"][0]
        computed = after["prefill_tokens_total"] - before["prefill_tokens_total"]
        suffixes = sum(n["prompt_tokens"] for n in self.state(session)["nodes"]) - 16 * tokens
        # Shared are whole blocks: each call reads again what of the prompt lies in the last, unfinished one.
        self.assertLessEqual(computed, tokens + suffixes + 15 * (block + 1))
        self.assertGreaterEqual(computed, tokens + suffixes)
        self.assertGreater(tokens, 600)

    def test_a_failing_call_takes_its_dependants_with_it_and_nobody_else(self):
        session = self.open()
        calls = [{"template": "Story: {{bad}}", "parameters": [output("bad", transform="json:name")], **self.FIXED},
                 {"template": "{{bad}} more {{worse}}", "parameters": [output("worse")], **self.FIXED},
                 {"template": "{{worse}} more {{worst}}", "parameters": [output("worst")], **self.FIXED},
                 {"template": "Fine {{good}}", "parameters": [output("good")], **self.FIXED},
                 {"template": "{{good}} and {{better}}", "parameters": [output("better")], **self.FIXED}]
        ids = self.call(session, calls=calls)["variables"]
        self.assertEqual(self.get(ids["better"])["content"], self.plain(self.plain("Fine ") + " and "))
        cause = self.get(ids["bad"], status=400)["error"]
        self.assertEqual((cause["param"], cause["code"]), ("bad", "variable_failed"))
        message = self.get(ids["worst"], status=400)["error"]["message"]
        self.assertIn("'worst'", message)
        self.assertIn("'worse'", message)
        self.assertIn("'bad'", message)
        self.assertEqual([n["state"] for n in self.state(session)["nodes"]], ["failed"] * 3 + ["done"] * 2)

    def test_a_prompt_too_long_for_the_context_fails_its_call(self):
        session = self.open()
        ids = self.call(session, variables={"doc": "word " * 4000},
                        calls=[{"template": "{{doc}}{{x}}", "parameters": [output("x")]},
                               {"template": "Fine {{fine}}", "parameters": [output("fine")], **self.FIXED}])["variables"]
        self.assertIn("context", self.get(ids["x"], status=400)["error"]["message"])
        self.assertEqual(self.get(ids["fine"])["content"], self.plain("Fine "))
        # What could not be tokenized in any reasonable time is not even tried.
        self.assertIn("context", self.refused(session, 400, "invalid_program", template="{{doc}}" * 200 + "{{y}}", parameters=[
            {"name": "doc", "var_id": ids["doc"]}, output("y")]))

    def test_programs_that_cannot_be(self):
        session = self.open()
        ab = [{"template": "{{b}}{{a}}", "parameters": [output("a")]}, {"template": "{{a}}{{b}}", "parameters": [output("b")]}]
        self.assertIn("cycle", self.refused(session, 400, "invalid_program", calls=ab))
        one = {"template": "x{{a}}", "parameters": [output("a")]}
        self.assertIn("'a'", self.refused(session, 400, "two_producers", calls=[one, one]))
        self.refused(session, 400, "variable_set", variables={"a": "text"}, calls=[one])
        self.refused(session, 400, "no_output", template="nothing {{in}}")
        self.refused(session, 400, "invalid_value", template="open {{x")
        self.refused(session, 400, "invalid_value", template="{{x}} lost words", parameters=[output("x")])
        self.refused(session, 400, "unknown_parameter", template="{{x}}", parameters=[output("x"), {"name": "y"}])
        self.refused(session, 400, "unknown_parameter", template="{{x}}", parameters=[output("x")], colour="red")
        self.refused(session, 400, "model_not_found", template="{{x}}", parameters=[output("x")], models=["other"])
        self.refused(session, 400, "missing_required_parameter")
        self.refused(session, 404, "unknown_variable", template="{{i}}{{x}}", parameters=[{"name": "i", "var_id": "var_a_1"}, output("x")])
        self.refused(session, 404, "unknown_variable", calls=[one], want={"zebra": "latency"})
        many = [{"template": f"{{{{n{i}}}}}", "parameters": [output(f"n{i}")]} for i in range(1025)]
        self.refused(session, 400, "program_too_large", calls=many)
        self.assertIn("at once", self.refused(session, 400, "invalid_program", calls=many[:100]))  # --queue 64
        big = "x" * (1 << 20)
        self.refused(session, 413, "program_too_large",
                     template=big + "".join(f"{{{{o{i}}}}}" for i in range(100)), parameters=[output(f"o{i}") for i in range(100)])
        self.refused("sess_none", 404, "unknown_session", calls=[one])
        self.error("/v1/session", {"model": "none"}, 404, "model_not_found")
        for bad in ({"transform": "python:os"}, {"criteria": "soon"}, {"sampling_config": {"temperature": -1}},
                    {"sampling_config": {"max_tokens": -5}}, {"var_id": "x", "variable": "y"}):
            self.call(session, status=404 if "zzz" in bad else 400, template="{{x}}", parameters=[output("x", **bad)])
        state = self.state(session)
        self.assertEqual((state["nodes"], state["variables"]), ([], []))  # nothing of all this is left
        for path in ("var_none_1", session.replace("sess", "var") + "_7", "x"):
            self.assertEqual(self.get(path, status=404)["error"]["code"] in ("unknown_variable", "unknown_session"), True)

    def test_deleting_a_session_ends_its_calls_and_tells_who_waits(self):
        session = self.open()
        slow = {"temperature": 0, "ignore_eos": True, "max_tokens": 1900}
        ids = self.call(session, calls=[{"template": f"Go {i} {{{{x{i}}}}}", "parameters": [output(f"x{i}")], **slow} for i in range(20)]
                        + [{"template": "{{x0}}{{y}}", "parameters": [output("y")]}])["variables"]
        told = []
        waiting = threading.Thread(target=lambda: told.append(self.server.request("GET", f"/v1/semantic_var/{ids['y']}")))
        waiting.start()
        time.sleep(0.2)
        self.assertTrue(self.server.json("DELETE", f"/v1/session/{session}")["deleted"])
        waiting.join(20)
        self.assertEqual(told[0][0], 410)
        self.get(ids["y"], status=404)
        self.assertIsNone(self.server.at_rest(5))

    def test_clients_that_leave_while_they_wait(self):
        session = self.open()
        var = self.call(session, template="Go {{x}}", parameters=[output("x")], temperature=0, ignore_eos=True,
                        max_tokens=300)["parameters"][0]["var_id"]
        for query in ("", "?stream=true"):
            with self.server.connect() as connection:
                connection.sendall(http_request("GET", f"/v1/semantic_var/{var}{query}"))
                time.sleep(0.05)
        self.assertEqual(self.get(var)["content"], self.plain("Go ", 300))  # the program goes on

    def test_status_shows_programs_without_their_text(self):
        session = self.open()
        secret = "xyzzy plugh"
        ids = self.call(session, variables={"doc": secret}, calls=[
            {"template": "{{doc}}{{x}}", "parameters": [output("x")], **self.FIXED}])["variables"]
        self.get(ids["x"])
        mine = [p for p in self.server.status()["programs"] if p.get("session_id") == session][0]
        self.assertEqual((mine["nodes"][0]["name"], mine["nodes"][0]["state"]), ("x", "done"))
        self.assertNotIn(secret, json.dumps(mine))


class Keys(ServeTest):
    OPTIONS = ("--api-key", "alpha", "--api-key", "beta", "--session-timeout", "1")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.auth = {"Authorization": "Bearer alpha"}

    def test_sessions_belong_to_their_key_and_expire(self):
        alpha, beta = self.server.auth, {"Authorization": "Bearer beta"}
        session = self.server.json("POST", "/v1/session", {}, headers=alpha)["session_id"]
        var = self.server.json("POST", "/v1/semantic_call", {"session_id": session, "template": "a{{x}}", "max_tokens": 3,
                                                             "parameters": [output("x")]}, headers=alpha)["parameters"][0]["var_id"]
        self.server.json("GET", f"/v1/semantic_var/{var}", headers=alpha)
        self.server.json("GET", f"/v1/semantic_var/{var}", headers=beta, status=404)
        self.server.json("GET", f"/v1/session/{session}", headers=beta, status=404)
        self.server.json("DELETE", f"/v1/session/{session}", headers=beta, status=404)
        self.assertEqual(self.server.json("GET", "/api/status", headers=beta)["programs"], [])
        self.assertEqual(len(self.server.status()["programs"]), 1)
        time.sleep(1.5)
        self.server.json("GET", f"/v1/semantic_var/{var}", headers=alpha, status=404)


if __name__ == "__main__":
    unittest.main()
