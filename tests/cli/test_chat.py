"""lathe chat as a user at a terminal sees it."""
import json
import os
import signal
import termios
import unittest

from harness import CliTest
from terminal import (ALT_ENTER, BACKSPACE, CTRL_A, CTRL_C, CTRL_D, CTRL_U, CTRL_W, DELETE, DOWN, END, ENTER, HOME,
                      LEFT, PASTE_BEGIN, PASTE_END, RIGHT, UP, Terminal)


class ChatOnATerminal(CliTest):
    def chat(self, *args, **more):
        terminal = Terminal("chat", *args, **more)
        self.addCleanup(terminal.close)
        return terminal

    def tiny(self, **more):
        terminal = self.chat("tiny", "-n", 3, "--temperature", 0, "--quiet", **more)
        terminal.wait_for_prompt()
        return terminal

    def endless(self):
        """A model that goes on for minutes: random weights almost never end a text."""
        model = self.folder / "endless.gguf"
        self.lathe("synth", "llama", model, "--layers", 2, "--width", 256, "--heads", 4, "--ffn", 512, "--vocab", 4096)
        terminal = self.chat(model, "-n", 100000, "-c", 100000, "--quiet", "-t", 1)
        terminal.wait_for_prompt()
        return terminal

    def saved(self, terminal):
        """The conversation, through /save."""
        path = self.folder / "saved.json"
        path.unlink(missing_ok=True)
        terminal.type(f"/save {path}", ENTER)
        terminal.wait_for(lambda: path.exists() and path.read_text().endswith("}\n"), "the saved conversation")
        return json.loads(path.read_text())["messages"]

    def system(self, terminal, *keys):
        """What /system makes of these keys: every way of typing, without waiting for an answer."""
        terminal.type("/system ", *keys, ENTER)
        return self.saved(terminal)[0]["content"]

    def test_a_conversation(self):
        terminal = self.chat("tiny", "-n", 5, "--temperature", 0)
        terminal.wait_for_prompt()
        self.assertIn("/help lists the commands", terminal.screen())
        terminal.type("Hello", ENTER)
        terminal.wait_for_prompt(2)
        question, answer = terminal.screen().split("\n")[-4:-2]
        self.assertEqual(question, "> Hello")
        self.assertEqual(self.saved(terminal)[1], {"role": "assistant", "content": answer})
        terminal.type("/help", ENTER)
        terminal.wait_for_text("/clear")
        terminal.type(CTRL_D)
        self.assertEqual(terminal.end(), 0)

    def test_the_terminal_is_left_as_it_was(self):
        terminal = self.chat("tiny", "-n", 3, "--quiet")
        before = terminal.modes()
        terminal.wait_for_prompt()
        self.assertFalse(terminal.modes()[3] & termios.ECHO)
        terminal.type("/quit", ENTER)
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(terminal.modes(), before)
        self.assertEqual(terminal.output().count("\x1b[?2004h"), terminal.output().count("\x1b[?2004l"))

    def test_a_second_interrupt_ends_at_once_and_leaves_the_terminal_as_it_was(self):
        terminal = self.endless()
        terminal.type("Hello", ENTER)
        terminal.wait_for(lambda: len(terminal.screen().split("\n", 1)[-1]) > 20, "answer")
        self.assertFalse(terminal.modes()[3] & termios.ECHO)
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
            os.kill(terminal.pid, number)
        self.assertGreater(terminal.end(), 128)
        self.assertTrue(terminal.modes()[3] & termios.ECHO)

    def test_what_is_typed_during_an_answer_is_kept(self):
        terminal = self.tiny()
        path = self.folder / "saved.json"
        terminal.type("Hello", ENTER, "/system Be", BACKSPACE, "r", ENTER, f"/save {path}", ENTER, CTRL_D)
        self.assertEqual(terminal.end(), 0)
        self.assertEqual(json.loads(path.read_text())["messages"][0], {"role": "system", "content": "Br"})

    def test_interrupting_an_answer_returns_to_the_prompt(self):
        terminal = self.endless()
        terminal.type("Hello", ENTER)
        terminal.wait_for(lambda: len(terminal.screen().split("\n", 1)[-1]) > 20, "answer")
        terminal.type(CTRL_C)
        terminal.wait_for_prompt(2)
        messages = self.saved(terminal)
        self.assertEqual([m["role"] for m in messages], ["user", "assistant"])
        self.assertNotEqual(messages[1]["content"], "")
        # And the next answer is not stopped by what stopped this one.
        before = len(terminal.screen())
        terminal.type("And then?", ENTER)
        terminal.wait_for(lambda: len(terminal.screen()) > before + 100, "second answer")
        terminal.type(CTRL_C)
        terminal.wait_for_prompt(4)
        terminal.type(CTRL_D)
        self.assertEqual(terminal.end(), 0)

    def test_sigterm_ends_the_program(self):
        terminal = self.endless()
        os.kill(terminal.pid, signal.SIGTERM)
        self.assertEqual(terminal.end(), 130)
        terminal = self.endless()
        terminal.type("Hello", ENTER)
        terminal.wait_for(lambda: len(terminal.screen().split("\n", 1)[-1]) > 20, "answer")
        os.kill(terminal.pid, signal.SIGTERM)
        self.assertEqual(terminal.end(), 130)

    def test_ctrl_c_at_the_prompt(self):
        terminal = self.tiny()
        terminal.type("never said", CTRL_C)
        terminal.wait_for_prompt(2)
        self.assertIn("> never said^C", terminal.screen())
        terminal.type(CTRL_C)
        terminal.wait_for_prompt(3)
        self.assertEqual(self.saved(terminal), [])
        terminal.wait_for_prompt(4)
        terminal.type(CTRL_C)
        terminal.wait_for_prompt(5)
        terminal.type(CTRL_C)
        self.assertEqual(terminal.end(), 0)

    def test_editing(self):
        terminal = self.tiny()
        cases = [
            ("plain", ["plain"]),
            ("naïve 東x", ["naïve 東京x", LEFT, BACKSPACE]),  # characters of one, two and three bytes
            ("a🎈c", ["a🎈", "b", "c", LEFT, LEFT, DELETE]),
            ("bc", ["a\u0301bc", LEFT, LEFT, BACKSPACE]),  # a letter and its accent are one
            ("👩‍👧!", ["👩‍👧👩‍👧", BACKSPACE, "!"]),  # and so is a joined emoji
            ("one two", ["one three", CTRL_W, "two"]),
            ("kept", ["gone", CTRL_U, "/system kept"]),
            ("a,b", ["ab", LEFT, ","]),
            ("abc", ["bc", LEFT, LEFT, "a", RIGHT, RIGHT, RIGHT]),
            ("begin end", ["end", HOME, *[RIGHT] * len("/system "), "begin ", END]),
        ]
        for expected, keys in cases:
            with self.subTest(expected):
                self.assertEqual(self.system(terminal, *keys), expected)

    def test_history(self):
        terminal = self.tiny()
        self.assertEqual(self.system(terminal, "first"), "first")
        terminal.type("/system second", ENTER, UP, UP, UP, UP, BACKSPACE, "T", ENTER)  # first, save, second
        self.assertEqual(self.saved(terminal)[0]["content"], "firsT")
        terminal.type("/system draft", UP, UP, DOWN, DOWN, "ed", ENTER)
        self.assertEqual(self.saved(terminal)[0]["content"], "drafted")

    def test_long_and_many_lines(self):
        terminal = self.tiny()
        long = "0123456789 äöü 東京 " * 500  # 14 kB, beyond a terminal's own 4,096 bytes
        self.assertEqual(self.system(terminal, PASTE_BEGIN, long, PASTE_END), long)
        self.assertEqual(self.system(terminal, long), long)
        terminal.type("/clear", ENTER, "/system", ENTER)
        terminal.type(PASTE_BEGIN, "one\r\n\ttwo\r/quit", PASTE_END, " three", ALT_ENTER, "four", ENTER)
        terminal.wait_for_prompt(terminal.output().count("\x1b[?2004h") + 1)
        self.assertEqual(self.saved(terminal)[0], {"role": "user", "content": "one\n\ttwo\n/quit three\nfour"})

    def test_wrapping(self):
        terminal = self.tiny(columns=20)
        terminal.type("The quick brown fox jumps over the lazy dog")
        terminal.wait_for_text("dog")
        self.assertTrue(terminal.screen().endswith("> The quick brown f\nox jumps over the l\nazy dog"),
                        terminal.screen())
        terminal.type(CTRL_A, "東京 ", LEFT, BACKSPACE)
        expected = "> 東 The quick brow\nn fox jumps over th\ne lazy dog"
        terminal.wait_for(lambda: terminal.screen().endswith(expected), expected)
        terminal.type(CTRL_U, END, CTRL_U)
        terminal.wait_for(lambda: terminal.screen() == "> ", "an empty line")
        terminal.resize(40, 24)
        terminal.type("0123456789" * 4)
        terminal.wait_for_text("> 0123456789012345678901234567890123456\n789")


if __name__ == "__main__":
    unittest.main()
