"""What the endpoints answer: against the program's own verbs, between streams and whole answers, and in the API's shape."""
import base64
import json
import struct
import subprocess
import time
import unittest

from harness import PROGRAM, ServeTest, http_request

STORY = "Once upon a time"
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather",
    "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                   "required": ["city", "days"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {"$defs": {"zone": {"enum": ["CET", "UTC"]}}, "type": "object",
                                          "properties": {"zone": {"$ref": "#/$defs/zone"}}, "required": ["zone"], "additionalProperties": False}}}


def verb(*args):
    return json.loads(subprocess.run([PROGRAM, *map(str, args), "--json"], capture_output=True, check=True).stdout)


class Completions(ServeTest):
    def test_the_same_text_as_lathe_run(self):
        expected = verb("run", "-p", STORY, "-n", 30, "--temperature", 0)
        answer = self.complete(max_tokens=30)
        self.assertEqual(answer["choices"][0]["text"], expected["text"])
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        self.assertEqual(answer["usage"], {"prompt_tokens": expected["prompt_tokens"], "completion_tokens": 30,
                                           "total_tokens": expected["prompt_tokens"] + 30})
        ids = self.complete(expected["prompt_ids"], max_tokens=30)
        self.assertEqual(ids["choices"][0]["text"], expected["text"])
        self.assertEqual(self.complete(max_tokens=5, echo=True)["choices"][0]["text"][:len(STORY)], STORY)

    def test_a_stream_says_what_the_whole_answer_says(self):
        whole = self.complete(max_tokens=40, logprobs=3, n=2)
        data = self.events("/v1/completions", {"prompt": STORY, "temperature": 0, "max_tokens": 40, "logprobs": 3, "n": 2,
                                               "stream": True, "stream_options": {"include_usage": True}})
        self.assertEqual(data[-1], "[DONE]")
        chunks = [json.loads(item) for item in data[:-1]]
        for index in (0, 1):
            mine = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == index]
            self.assertEqual("".join(c["text"] for c in mine), whole["choices"][index]["text"])
            self.assertEqual([c["finish_reason"] for c in mine if c["finish_reason"]], ["length"])
            tokens = [t for c in mine if c["logprobs"] for t in c["logprobs"]["tokens"]]
            self.assertEqual(tokens, whole["choices"][index]["logprobs"]["tokens"])
        self.assertEqual(chunks[-1]["usage"], whole["usage"])
        self.assertEqual(len({c["id"] for c in chunks}), 1)

    def test_several_prompts_and_choices_come_in_order(self):
        alone = [self.complete(p, max_tokens=8)["choices"][0]["text"] for p in ("Tom", "Lily")]
        both = self.complete(["Tom", "Lily"], max_tokens=8, n=2)["choices"]
        self.assertEqual([c["index"] for c in both], [0, 1, 2, 3])
        self.assertEqual([c["text"] for c in both], [alone[0], alone[0], alone[1], alone[1]])

    def test_seeds_stops_bias_and_lengths(self):
        same = [self.complete(temperature=1, seed=7, max_tokens=20)["choices"][0]["text"] for _ in range(2)]
        self.assertEqual(same[0], same[1])
        choices = self.complete(temperature=1.5, seed=7, max_tokens=20, n=3)["choices"]
        self.assertEqual(len({c["text"] for c in choices}), 3)
        stopped = self.complete(max_tokens=60, stop=["girl"])["choices"][0]
        self.assertEqual((stopped["text"], stopped["finish_reason"]), (", there was a little ", "stop"))
        banned = verb("tokenize", "tiny", "-p", ",", "--no-special")["ids"][-1]
        first = self.complete(max_tokens=1, logprobs=1)["choices"][0]["logprobs"]["tokens"][0]
        biased = self.complete(max_tokens=1, logprobs=1, logit_bias={str(banned): -100})["choices"][0]["logprobs"]["tokens"][0]
        self.assertEqual(first, ",")
        self.assertNotEqual(biased, ",")
        full = self.complete(max_tokens=100000, ignore_eos=True)
        self.assertEqual(full["usage"]["total_tokens"], self.server.status()["models"][0]["context"])
        self.assertEqual(full["choices"][0]["finish_reason"], "length")

    def test_logprobs_are_those_of_the_model(self):
        expected = verb("run", "-p", STORY, "-n", 4, "--temperature", 0, "--logprobs", 2)["logprobs"]
        got = self.complete(max_tokens=4, logprobs=2)["choices"][0]["logprobs"]
        for i, token in enumerate(expected):
            self.assertAlmostEqual(got["token_logprobs"][i], token["logprob"], places=4)
            self.assertEqual(len(got["top_logprobs"][i]), 2)
        self.assertEqual(got["text_offset"][0], 0)

    def test_a_shared_prompt_is_read_once(self):
        before = self.server.status()["models"][0]
        self.complete("The big dog and the small cat went to the park to play with a ball and " * 2, max_tokens=2, n=8)
        after = self.server.status()["models"][0]
        seen = after["prompt_tokens_seen_total"] - before["prompt_tokens_seen_total"]
        computed = after["prefill_tokens_total"] - before["prefill_tokens_total"]
        self.assertLess(computed, seen / 8 + 8 * 32)
        self.assertEqual(seen - computed, after["prefix_hit_tokens_total"] - before["prefix_hit_tokens_total"])

    def test_grammars(self):
        text = self.complete(max_tokens=20, grammar='root ::= " " ("yes" | "no")')["choices"][0]
        self.assertIn(text["text"], (" yes", " no"))
        self.assertEqual(text["finish_reason"], "stop")
        self.error("/v1/completions", {"prompt": "a", "grammar": "root ::= ("}, 400)


class Chat(ServeTest):
    OPTIONS = ("--ctx", "2048")

    def chat(self, content="Tell me a story", status=200, **fields):
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, **fields}
        return self.server.json("POST", "/v1/chat/completions", body, status=status)

    def test_an_answer_and_its_stream(self):
        whole = self.chat(max_completion_tokens=20, logprobs=True, top_logprobs=2)
        choice = whole["choices"][0]
        self.assertEqual(whole["object"], "chat.completion")
        self.assertEqual(choice["message"]["role"], "assistant")
        self.assertEqual(len(choice["logprobs"]["content"]), 20)
        entry = choice["logprobs"]["content"][0]
        self.assertEqual(bytes(entry["bytes"]).decode(), entry["token"])
        self.assertEqual(len(entry["top_logprobs"]), 2)
        data = self.events("/v1/chat/completions", {"messages": [{"role": "user", "content": "Tell me a story"}], "temperature": 0,
                                                    "max_tokens": 20, "stream": True, "logprobs": True, "top_logprobs": 2})
        chunks = [json.loads(item)["choices"][0] for item in data[:-1]]
        self.assertEqual(chunks[0]["delta"], {"role": "assistant", "content": ""})
        self.assertEqual("".join(c["delta"].get("content", "") for c in chunks), choice["message"]["content"])
        self.assertEqual([t for c in chunks if c["logprobs"] for t in c["logprobs"]["content"]], choice["logprobs"]["content"])
        self.assertEqual(chunks[-1]["finish_reason"], "length")

    def test_parts_of_text_are_text(self):
        parts = self.chat([{"type": "text", "text": "Tell me "}, {"type": "text", "text": "a story"}], max_tokens=8)
        self.assertEqual(parts["choices"][0]["message"], self.chat(max_tokens=8)["choices"][0]["message"])
        self.error("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
                   400, "unsupported_content")

    def test_json_by_schema(self):
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
                  "required": ["name", "age"], "additionalProperties": False}
        for temperature in (0, 1):
            answer = self.chat(temperature=temperature, seed=3, max_tokens=200, response_format={
                "type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": schema}})
            value = json.loads(answer["choices"][0]["message"]["content"])
            self.assertEqual(set(value), {"name", "age"})
            self.assertTrue(0 <= value["age"] <= 99 and len(value["name"]) <= 8)
        for bad in ({"type": "xml"}, {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "nothing"}}},
                    {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "integer", "minimum": 5, "maximum": 4}}}):
            self.error("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "response_format": bad}, 400)

    def test_tools_that_must_be_called(self):
        for choice in ("required", {"type": "function", "function": {"name": "get_time"}}):
            for seed in range(3):
                answer = self.chat(tools=[WEATHER, CLOCK], tool_choice=choice, temperature=1, seed=seed, max_tokens=300,
                                   parallel_tool_calls=False)["choices"][0]
                self.assertEqual(answer["finish_reason"], "tool_calls", answer)
                self.assertIsNone(answer["message"]["content"])
                call, = answer["message"]["tool_calls"]
                arguments = json.loads(call["function"]["arguments"])
                if call["function"]["name"] == "get_weather":
                    self.assertEqual(choice, "required")
                    self.assertIn(arguments["city"], ("Paris", "Oslo"))
                    self.assertTrue(1 <= arguments["days"] <= 9)
                else:
                    self.assertIn(arguments["zone"], ("CET", "UTC"))
        data = self.events("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "tools": [CLOCK], "seed": 1,
                                                    "tool_choice": "required", "stream": True, "parallel_tool_calls": False})
        chunks = [json.loads(item)["choices"][0] for item in data[:-1]]
        calls = [c for chunk in chunks for c in chunk["delta"].get("tool_calls", [])]
        self.assertEqual((calls[0]["index"], calls[0]["function"]["name"]), (0, "get_time"))
        self.assertEqual(chunks[-1]["finish_reason"], "tool_calls")

    def test_stop_texts_end_no_call(self):
        asked = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False, "temperature": 1, "seed": 2}

        def streamed(**more):
            data = self.events("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], **asked, **more, "stream": True})
            chunks = [json.loads(item)["choices"][0] for item in data[:-1]]
            calls = [c["function"] for chunk in chunks for c in chunk["delta"].get("tool_calls", [])]
            return calls[0]["name"], "".join(c["arguments"] for c in calls), chunks[-1]["finish_reason"]

        def whole(**more):
            choice = self.chat("a", **asked, **more)["choices"][0]
            call, = choice["message"]["tool_calls"]
            self.assertIsNone(choice["message"]["content"])
            return call["function"]["name"], call["function"]["arguments"], choice["finish_reason"]

        free = whole(max_tokens=200)
        self.assertEqual(free[2], "tool_calls")
        for stop in ('"', "city", "get_", [free[1][-1], "}"], "</tool_call>", "\n"):
            self.assertEqual(whole(max_tokens=200, stop=stop), free, stop)
            self.assertEqual(streamed(max_tokens=200, stop=stop), free, stop)
        # One that is cut by its length is the same in both, too.
        tokens = self.chat("a", **asked)["usage"]["completion_tokens"]
        cut = whole(max_tokens=tokens - 20)
        self.assertEqual(cut[2], "length")
        self.assertTrue(free[1].startswith(cut[1]) and len(cut[1]) < len(free[1]), (free, cut))
        self.assertEqual(streamed(max_tokens=tokens - 20, stop='"'), cut)
        # Before a call they end the text as ever.
        text = self.chat(tools=[WEATHER], max_tokens=20)["choices"][0]["message"]["content"]
        stop = text.split()[3]
        answer = self.chat(tools=[WEATHER], max_tokens=20, stop=stop)["choices"][0]
        self.assertEqual((answer["message"]["content"], answer["finish_reason"]), (text[:text.index(stop)], "stop"))

    def test_tools_that_may_be_called(self):
        answer = self.chat(tools=[WEATHER], max_tokens=20)["choices"][0]  # this model does not know how
        self.assertIn(answer["finish_reason"], ("length", "stop"))
        self.assertTrue(answer["message"]["content"])
        for bad in ({"tools": [{"type": "function"}]}, {"tools": [{"type": "magic", "function": {"name": "a"}}]},
                    {"tools": [{"type": "function", "function": {"name": "a b"}}]}, {"tools": [CLOCK, CLOCK]},
                    {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "other"}}},
                    {"tool_choice": "required"}, {"tools": [CLOCK], "response_format": {"type": "json_object"}}):
            self.error("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], **bad}, 400)


class Others(ServeTest):
    def test_tokens_there_and_back(self):
        expected = verb("tokenize", "tiny", "-p", STORY)["ids"]
        got = self.server.json("POST", "/tokenize", {"content": STORY, "add_special": True})
        self.assertEqual((got["tokens"], got["count"]), (expected, len(expected)))
        pieces = self.server.json("POST", "/tokenize", {"content": STORY, "with_pieces": True})["tokens"]
        self.assertEqual("".join(p["piece"] for p in pieces).strip(), STORY)
        tokens = self.server.json("POST", "/tokenize", {"content": STORY})["tokens"]
        self.assertEqual(self.server.json("POST", "/detokenize", {"tokens": tokens})["content"].strip(), STORY)

    def test_embeddings(self):
        both = self.server.json("POST", "/v1/embeddings", {"model": "tiny", "input": ["one text", "another"]})
        self.assertEqual([d["index"] for d in both["data"]], [0, 1])
        one = self.server.json("POST", "/v1/embeddings", {"model": "tiny", "input": "one text", "encoding_format": "base64"})
        raw = base64.b64decode(one["data"][0]["embedding"])
        values = struct.unpack(f"<{len(raw) // 4}f", raw)
        self.assertAlmostEqual(sum(v * v for v in values), 1, places=4)
        for a, b in zip(values, both["data"][0]["embedding"]):
            self.assertAlmostEqual(a, b, places=6)
        self.error("/v1/embeddings", {"input": [1, 2]}, 400)
        self.error("/v1/embeddings", {"input": []}, 400)

    def test_responses(self):
        body = {"model": "tiny", "input": "Tell me a story", "temperature": 0, "max_output_tokens": 12}
        whole = self.server.json("POST", "/v1/responses", body)
        text = whole["output"][0]["content"][0]["text"]
        self.assertEqual((whole["object"], whole["status"]), ("response", "incomplete"))
        self.assertEqual(whole["usage"]["output_tokens"], 12)
        chat = self.server.json("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Tell me a story"}],
                                                                 "temperature": 0, "max_tokens": 12})
        self.assertEqual(text, chat["choices"][0]["message"]["content"])
        events = [json.loads(item) for item in self.events("/v1/responses", {**body, "stream": True})]
        self.assertEqual([e["sequence_number"] for e in events], list(range(len(events))))
        self.assertEqual("".join(e["delta"] for e in events if e["type"] == "response.output_text.delta"), text)
        self.assertEqual(events[-1]["response"]["output"][0]["content"][0]["text"], text)
        self.error("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}, 400)


class Requests(ServeTest):
    """Plain requests among the programs of /api/status."""
    OPTIONS = ("--api-key", "alpha", "--api-key", "beta", "--ctx", "2048")
    BETA = {"Authorization": "Bearer beta"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server.auth = {"Authorization": "Bearer alpha"}

    def ask(self, path, key=None, **body):
        return self.server.json("POST", path, {"temperature": 0, **body}, headers=key or self.server.auth)

    def programs(self, key=None):
        return self.server.json("GET", "/api/status", headers=key or self.server.auth)["programs"]

    def test_each_is_a_program_of_its_key_without_text(self):
        said = "Xyzzy plugh"
        chat = self.ask("/v1/chat/completions", messages=[{"role": "user", "content": said}], max_tokens=9, n=3)
        text = self.ask("/v1/completions", prompt=[said, "Tom"], max_tokens=7)
        response = self.ask("/v1/responses", input=said, max_output_tokens=5)
        other = self.ask("/v1/completions", key=self.BETA, prompt=said, max_tokens=3)
        shown = {p["id"]: p for p in self.programs()}
        self.assertEqual(set(shown) & {chat["id"], text["id"], response["id"], other["id"]},
                         {chat["id"], text["id"], response["id"]})
        self.assertEqual([p["id"] for p in self.programs(self.BETA)], [other["id"]])
        for answer, path, choices, tokens in ((chat, "/v1/chat/completions", 3, 9), (text, "/v1/completions", 2, 7),
                                              (response, "/v1/responses", 1, 5)):
            one = shown[answer["id"]]
            self.assertEqual((one["object"], one["endpoint"], one["model"], one["state"]), ("request", path, "tiny", "idle"))
            self.assertEqual([node["name"] for node in one["nodes"]], [f"choice {i}" for i in range(choices)])
            for node in one["nodes"]:
                self.assertEqual((node["state"], node["generated_tokens"]), ("done", tokens))
                self.assertGreater(node["prompt_tokens"], 0)
                self.assertEqual(node["read_tokens"], node["prompt_tokens"])
                self.assertTrue(0 <= node["queued"] <= node["begun"] <= node["ended"] <= one["seconds"], one)
        for secret in (said, text["choices"][0]["text"], chat["choices"][0]["message"]["content"]):
            self.assertNotIn(json.dumps(secret)[1:-1], json.dumps([self.programs(), self.programs(self.BETA)]))

    def test_the_last_that_ended_are_kept(self):
        ids = [self.ask("/v1/completions", prompt="a", max_tokens=1)["id"] for _ in range(40)]
        self.assertEqual([p["id"] for p in self.programs()], ids[-32:])

    def test_one_that_runs_is_shown_until_its_client_leaves(self):
        def shown_as(state, seconds=20):
            """Those with a choice in that state, once there is one."""
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                found = [p for p in self.programs() if state in [node["state"] for node in p["nodes"]] and len(p["nodes"]) == 8]
                if found:
                    return found
            self.fail(f"no request came to be {state}")

        body = json.dumps({"prompt": "Once", "max_tokens": 4000, "ignore_eos": True, "n": 8}).encode()
        with self.server.connect() as connection:
            connection.sendall(http_request("POST", "/v1/completions", body, ("Authorization: Bearer alpha",)))
            running, = shown_as("running")
            # What has been generated is told as it grows.
            counts = []
            until = time.monotonic() + 20
            while time.monotonic() < until and (len(counts) < 2 or counts[-1] < counts[0] + 3):
                now = [p for p in self.programs() if p["id"] == running["id"]][0]["nodes"]
                counts.append(min(node["generated_tokens"] for node in now))
            self.assertEqual(counts, sorted(counts))
            self.assertTrue(counts[0] + 3 <= counts[-1] < 2048, counts)
            for node in now:
                self.assertGreater(node["prompt_tokens"], 0)
                self.assertEqual(node["read_tokens"], node["prompt_tokens"])
        self.assertEqual(running["state"], "running")
        ended, = shown_as("done")
        self.assertEqual((ended["id"], len(ended["nodes"])), (running["id"], 8))
        for before, node in zip(now, ended["nodes"]):
            self.assertGreaterEqual(node["generated_tokens"], before["generated_tokens"])


class Reading(ServeTest):
    """How much of its prompt a call has read, pass by pass."""
    OPTIONS = ("--chunk", "1", "--parallel", "1", "--ctx", "4096")

    def test_a_prompt_is_read_bit_by_bit(self):
        body = json.dumps({"prompt": STORY + " there was a dog" * 400, "max_tokens": 1}).encode()
        seen = []
        with self.server.connect() as connection:
            connection.sendall(http_request("POST", "/v1/completions", body))
            until = time.monotonic() + 60
            while time.monotonic() < until and not (seen and seen[-1]["state"] == "done"):
                seen += [p["nodes"][0] for p in self.server.status()["programs"]]
        self.assertEqual(seen[-1]["state"], "done")
        whole = seen[-1]["prompt_tokens"]
        running = [node for node in seen if node["state"] == "running"]
        self.assertGreater(len([node for node in running if 0 < node["read_tokens"] < whole]), 1)
        read = [node["read_tokens"] for node in seen]
        self.assertEqual(read, sorted(read))
        self.assertEqual(read[-1], whole)
        self.assertEqual({node["prompt_tokens"] for node in running}, {whole})


if __name__ == "__main__":
    unittest.main()
