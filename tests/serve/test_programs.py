"""lathe run-program, and the workloads of bench serve: the examples run, here and on a server, and say the same."""
import json
import signal
import subprocess
import tempfile
import time
import unittest

from harness import PROGRAM, SOURCE, Server

EXAMPLES = sorted((SOURCE / "examples" / "programs").glob("*.json"))


def run(*args, status=0, stdin=None):
    done = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, input=stdin, timeout=120)
    if done.returncode != status:
        raise AssertionError(f"{args}: {done.returncode}, expected {status}: {done.stderr.decode()}")
    return done.stdout.decode(), done.stderr.decode()


class RunProgram(unittest.TestCase):
    def test_the_examples_say_the_same_here_and_on_a_server(self):
        self.assertEqual(len(EXAMPLES), 4)
        server = Server("--api-key", "k")
        try:
            for file in EXAMPLES:
                here = json.loads(run("run-program", file, "--json")[0])
                there = json.loads(run("run-program", file, "--json", "--server", server.url, "--api-key", "k")[0])
                self.assertEqual(here["variables"], there["variables"], file)
                self.assertTrue(all(here["variables"].values()), file)
                self.assertEqual([n["state"] for n in here["nodes"]], ["done"] * len(here["nodes"]))
                self.assertIn("latency", [n["goal"] for n in here["nodes"]])
            server.auth = {"Authorization": "Bearer k"}
            self.assertEqual(server.status()["programs"], [])  # clients end their sessions
            self.assertIsNone(server.at_rest())
        finally:
            self.assertEqual(server.stop(), 0)

    def test_it_draws_and_writes_what_nobody_reads(self):
        out, drawn = run("run-program", SOURCE / "examples/programs/map-reduce.json")
        self.assertTrue(out.startswith("summary: "), out)
        self.assertEqual(out.count("note0"), 0)
        for name in ("note0", "note3", "summary"):
            self.assertRegex(drawn, rf"\* {name} +done")
        self.assertIn("<- note0, note1, note2, note3", drawn)

    def test_settings_and_failures(self):
        program = {"calls": [{"template": "{{who}} {{a}}", "parameters": [{"name": "a", "is_output": True, "transform": "json:x"}], "max_tokens": 4},
                             {"template": "{{a}}{{b}}", "parameters": [{"name": "b", "is_output": True}]},
                             {"template": "{{who}} {{c}}", "parameters": [{"name": "c", "is_output": True}], "max_tokens": 4}]}
        text = json.dumps(program).encode()
        self.assertIn("'who' has no value", run("run-program", "-", status=1, stdin=text)[1])
        out, errors = run("run-program", "-", "--set", "who=Tom", "--json", status=1, stdin=text)
        values = json.loads(out)["variables"]
        self.assertEqual((values["who"], values["a"], values["b"]), ("Tom", None, None))
        self.assertTrue(values["c"])
        self.assertIn("its input 'a' failed", errors)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            for bad in ("[]", "{", '{"calls": 3}'):
                file.seek(0)
                file.truncate()
                file.write(bad)
                file.flush()
                self.assertIn(file.name, run("run-program", file.name, status=1)[1])
        cycle = {"calls": [{"template": "{{b}}{{a}}", "parameters": [{"name": "a", "is_output": True}]},
                           {"template": "{{a}}{{b}}", "parameters": [{"name": "b", "is_output": True}]}]}
        self.assertIn("cycle", run("run-program", "-", status=1, stdin=json.dumps(cycle).encode())[1])
        run("run-program", "-", "--api-key", "x", status=2, stdin=text)
        self.assertIn("connect", run("run-program", "-", "--set", "who=a", "--server", "http://127.0.0.1:1", status=1, stdin=text)[1])

    def test_workloads_give_the_same_texts_as_call_by_call(self):
        for workload in ("chain", "map-reduce", "shared-prompt", "multi-agent"):
            out, _ = run("bench", "serve", "tiny", "--workload", workload, "--calls", 4, "--answer", 4, "--rtt", 20, "--repeat", 1,
                         "--system", 200, "--json")
            report = json.loads(out)
            self.assertTrue(report["identical"], report)
            self.assertEqual(report["program"]["prompt_tokens"] > 0, True)
            if workload == "chain":  # four round trips against one
                self.assertGreater(report["call_by_call"]["seconds"], 4 * 0.020)
                self.assertGreater(report["program"]["seconds"], 0.020)
            self.assertGreater(report["program"]["kv_bytes"], 0)
            self.assertNotIn("between_chat_tokens_seconds", report)
        run("bench", "serve", "--workload", "magic", status=2)

    def test_a_shared_prompt_takes_memory_and_time_once(self):
        reports = [json.loads(run("bench", "serve", "tiny", "--workload", "shared-prompt", "--calls", 16, "--answer", 100, "--rtt", 0,
                                  "--repeat", 1, "--system", 1000, "--json", *more)[0])
                   for more in ((), ("--no-prefix-cache",))]
        shared, unshared = (report["program"] for report in reports)
        self.assertLess(shared["prefill_tokens"], 0.25 * unshared["prefill_tokens"])
        self.assertLess(shared["kv_bytes"], 0.25 * unshared["kv_bytes"])

    def test_chats_beside_a_program_are_told(self):
        report = json.loads(run("bench", "serve", "tiny", "--workload", "map-reduce", "--calls", 4, "--answer", 8, "--repeat", 1,
                                "--chats", 2, "--latency-batch", 2, "--json")[0])
        for pace in (report, report["call_by_call"], report["program"]):
            self.assertGreater(pace["between_chat_tokens_seconds"]["count"], 10)
            self.assertGreater(pace["between_chat_tokens_seconds"]["p99"], 0)

    def test_an_interrupted_benchmark_says_nothing_of_speed(self):
        for more in (("--requests", "100000", "--streams", "2"), ("--workload", "chain", "--rtt", "2000")):
            process = subprocess.Popen([PROGRAM, "bench", "serve", "tiny", *more], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            try:
                self.assertIn(b"open", process.stderr.readline())  # its server runs
                time.sleep(0.3)
                process.send_signal(signal.SIGINT)
                out, errors = process.communicate(timeout=60)
            finally:
                process.kill()
            self.assertEqual((process.returncode, out), (130, b""), errors)


if __name__ == "__main__":
    unittest.main()
