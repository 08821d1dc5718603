"""lathe tokenize and lathe chat."""
import json
import unittest

from harness import CliTest


class Tokenize(CliTest):
    def test_ids_and_pieces(self):
        result = self.json("tokenize", "tiny", "-p", "Once upon a time")
        self.assertEqual(result["ids"], [1, 403, 407, 261, 378])
        self.assertEqual(result["pieces"], ["<s>", "▁Once", "▁upon", "▁a", "▁time"])
        plain = self.json("tokenize", "tiny", "-p", "Once upon a time", "--no-special")
        self.assertEqual(plain["ids"], result["ids"][1:])
        table = self.lathe("tokenize", "tiny", "-p", "Once upon a time").stdout
        self.assertEqual([int(line.split()[0]) for line in table.splitlines()], result["ids"])

    def test_special_tokens_in_the_text(self):
        self.assertEqual(self.json("tokenize", "tiny", "-p", "a</s>")["ids"][-1], 2)
        self.assertNotIn(2, self.json("tokenize", "tiny", "-p", "a</s>", "--no-special")["ids"])

    def test_files_and_decoding(self):
        text = "Tom said: \"Ünïcode 東京 🎈\"\n\tand\r\n  spaces."
        path = self.folder / "text.txt"
        path.write_bytes(text.encode())
        ids = self.json("tokenize", "tiny", "-f", path, "--no-special")["ids"]
        self.assertEqual(self.json("tokenize", "tiny", "-f", "-", "--no-special", stdin=text)["ids"], ids)
        listed = ",".join(map(str, ids))
        decoded = self.json("tokenize", "tiny", "--decode", listed)
        self.assertEqual(decoded["text"], text)
        self.assertEqual(decoded["ids"], ids)
        self.assertEqual(self.lathe("tokenize", "tiny", "--decode", "403, 407").stdout.strip(), "Once upon")

    def test_nothing_and_nonsense(self):
        self.assertEqual(self.json("tokenize", "tiny", "-p", "", "--no-special")["ids"], [])
        self.fails(1, "tokenize", "tiny", "--decode", "512")
        self.fails(2, "tokenize", "tiny", "--decode", "1,x", says="--decode")
        self.fails(2, "tokenize", "tiny", "--decode", "1", "-p", "a")
        self.fails(2, "tokenize", "tiny")


class Chat(CliTest):
    def test_a_piped_conversation(self):
        saved = self.folder / "chat.json"
        result = self.lathe("chat", "tiny", "-n", 8, "--temperature", 0, "--quiet", "--system", "Tell stories.",
                            stdin=f"Hello\nAnd then?\n/save {saved}\n/clear\nAgain\n/quit\nnever read\n")
        messages = json.loads(saved.read_text())["messages"]
        self.assertEqual([m["role"] for m in messages], ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual(messages[1]["content"], "Hello")
        self.assertTrue(result.stdout.startswith(messages[2]["content"] + "\n" + messages[4]["content"] + "\n"))

    def test_json_is_the_conversation(self):
        result = self.json("chat", "tiny", "-n", 4, stdin="Hello\n/clear\n/system Be brief.\nHi")
        self.assertEqual([m["role"] for m in result["messages"]], ["system", "user", "assistant"])

    def test_commands_that_are_none(self):
        result = self.lathe("chat", "tiny", stdin="/halp\n/save\n/help\n")
        self.assertIn("/halp", result.stderr)
        self.assertIn("/system TEXT", result.stderr)
        self.assertEqual(result.stdout, "")

    def test_the_models_own_template(self):
        self.json("convert", "tiny", self.folder / "model/")
        config = self.folder / "model" / "tokenizer_config.json"
        settings = json.loads(config.read_text()) if config.exists() else {}
        settings["chat_template"] = "{% for m in messages %}{{ raise_exception('only ' + m.role) }}{% endfor %}"
        config.write_text(json.dumps(settings))
        self.fails(1, "chat", self.folder / "model", "--quiet", stdin="Hello\n", says="only user")


if __name__ == "__main__":
    unittest.main()
