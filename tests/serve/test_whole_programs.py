"""Programs in one request (/v1/program): the same texts as through a session, streams, errors, and nothing left behind."""
import json
import time
import unittest

from harness import ServeTest, http_request


def output(name, **more):
    return {"name": name, "is_output": True, **more}


FIXED = {"temperature": 0, "ignore_eos": True, "max_tokens": 12}
CHAIN = [{"template": "{{start}} {{a}}", "parameters": [output("a")], **FIXED},
         {"template": "{{a}} and then {{b}}", "parameters": [output("b")], **FIXED},
         {"template": "{{b}}! {{c}}", "parameters": [output("c", transform="trim")], **FIXED}]
START = {"start": "Once upon a time"}


class WholePrograms(ServeTest):
    OPTIONS = ("--ctx", "2048", "--queue", "64")

    def ask(self, status=200, **body):
        return self.server.json("POST", "/v1/program", body, status=status)

    def plain(self, prompt, max_tokens=12):
        return self.complete(prompt, max_tokens=max_tokens, ignore_eos=True)["choices"][0]["text"]

    def expected(self):
        a = self.plain("Once upon a time ")
        b = self.plain(a + " and then ")
        return {"a": a, "b": b, "c": self.plain(b + "! ").strip()}

    def test_it_says_what_a_client_gets_call_by_call(self):
        answer = self.ask(calls=CHAIN, variables=START)
        self.assertEqual(answer["object"], "program")
        self.assertEqual(list(answer["outputs"]), ["c"])  # what no call reads
        self.assertEqual(answer["outputs"]["c"]["content"], self.expected()["c"])
        self.assertEqual([n["goal"] for n in answer["nodes"]], ["latency"] * 3)
        self.assertEqual([n["state"] for n in answer["nodes"]], ["done"] * 3)
        self.assertEqual(answer["usage"]["completion_tokens"], 36)
        self.assertEqual(answer["usage"]["prompt_tokens"], sum(n["prompt_tokens"] for n in answer["nodes"]))

    def test_what_is_wanted_is_told(self):
        answer = self.ask(calls=CHAIN, variables=START, want={"a": "latency", "c": "throughput"})
        expected = self.expected()
        self.assertEqual({k: v["content"] for k, v in answer["outputs"].items()}, {k: expected[k] for k in "ac"})

    def test_a_stream_tells_text_as_it_is_written(self):
        calls = [CHAIN[0], {**CHAIN[1], "max_tokens": 300}, CHAIN[2]]  # b takes long enough to be seen while it is written
        *events, done = self.events("/v1/program", {"calls": calls, "variables": START, "stream": True,
                                                    "want": {"b": "latency", "c": "latency"}})
        self.assertEqual(done, "[DONE]")
        events = [json.loads(event) for event in events]
        b = self.plain(self.plain("Once upon a time ") + " and then ", 300)
        expected = {"b": b, "c": self.plain(b + "! ").strip()}
        whole = events[-1]
        self.assertEqual(whole["object"], "program")
        self.assertEqual({k: v["content"] for k, v in whole["outputs"].items()}, {k: expected[k] for k in "bc"})
        deltas = [e["delta"] for e in events if e.get("variable") == "b" and "delta" in e]
        self.assertGreater(len(deltas), 3)
        self.assertEqual("".join(deltas), expected["b"])
        # A transform stands between c's text and its value, so it has no deltas; a is not wanted.
        self.assertEqual({e["variable"] for e in events if "delta" in e}, {"b"})
        self.assertEqual([e["variable"] for e in events if "output" in e], ["b", "c"])

    def test_what_fails_is_told_beside_what_does_not(self):
        calls = [{"template": "Story: {{bad}}", "parameters": [output("bad", transform="json:name")], **FIXED},
                 {"template": "{{bad}} more {{worse}}", "parameters": [output("worse")], **FIXED},
                 {"template": "Fine {{good}}", "parameters": [output("good")], **FIXED}]
        outputs = self.ask(calls=calls)["outputs"]
        self.assertEqual(outputs["good"]["content"], self.plain("Fine "))
        self.assertEqual(outputs["worse"]["status"], "failed")
        self.assertEqual(outputs["worse"]["error"]["code"], "variable_failed")
        self.assertIn("'bad'", outputs["worse"]["error"]["message"])
        error = self.ask(status=400, calls=calls[:2])["error"]  # nothing came
        self.assertEqual((error["param"], error["code"]), ("worse", "variable_failed"))

    def test_programs_that_cannot_be(self):
        def refused(status, code, **body):
            self.assertEqual(self.ask(status=status, **body)["error"]["code"], code)
        one = {"template": "x{{a}}", "parameters": [output("a")]}
        refused(400, "variable_unset", calls=CHAIN)
        refused(400, "missing_required_parameter")
        refused(400, "missing_required_parameter", calls=[])
        refused(400, "two_producers", calls=[one, one])
        refused(400, "invalid_program", calls=[{"template": "{{b}}{{a}}", "parameters": [output("a")]},
                                               {"template": "{{a}}{{b}}", "parameters": [output("b")]}])
        refused(404, "unknown_variable", calls=[one], want={"zebra": "latency"})
        refused(404, "model_not_found", model="none", calls=[one])
        refused(400, "unknown_parameter", calls=[one], colour="red")
        refused(400, "invalid_type", calls=[one], stream="yes")
        refused(400, "invalid_value", calls=[one], priority=1000)
        self.assertEqual(self.sessions(), [])

    def test_it_ends_with_its_answer_or_its_client(self):
        self.ask(calls=CHAIN, variables=START)
        self.assertEqual(self.sessions_after(2), [])
        last = self.server.status()["programs"][-1]  # its figures stay on view
        self.assertEqual((last["object"], last["endpoint"], last["state"]), ("request", "/v1/program", "idle"))
        self.assertEqual([n["name"] for n in last["nodes"]], ["a", "b", "c"])
        self.assertNotIn(START["start"], json.dumps(last))
        body = json.dumps({"calls": [{"template": "Go {{x}}", "parameters": [output("x")], "ignore_eos": True,
                                      "max_tokens": 1900}], "stream": True}).encode()
        with self.server.connect() as connection:
            connection.sendall(http_request("POST", "/v1/program", body))
            connection.recv(100)
            self.assertEqual(len(self.sessions()), 1)
        self.assertEqual(self.sessions_after(5), [])
        self.assertIsNone(self.server.at_rest(5))

    def sessions(self):
        return [p for p in self.server.status()["programs"] if p["object"] == "semantic_session"]

    def sessions_after(self, seconds):
        """Those that are still there after so long at most."""
        end = time.monotonic() + seconds
        while self.sessions() and time.monotonic() < end:
            time.sleep(0.02)
        return self.sessions()

    def test_its_session_can_be_ended_by_others(self):
        body = json.dumps({"calls": [{"template": "Go {{x}}", "parameters": [output("x")], "ignore_eos": True,
                                      "max_tokens": 1900}], "stream": True}).encode()
        with self.server.connect() as connection:
            connection.sendall(http_request("POST", "/v1/program", body))
            received = connection.recv(100)
            session = self.sessions()[0]["session_id"]
            self.assertTrue(self.server.json("DELETE", f"/v1/session/{session}")["deleted"])
            while b"session_deleted" not in received:
                more = connection.recv(65536)
                self.assertNotEqual(more, b"", received)
                received += more


if __name__ == "__main__":
    unittest.main()
