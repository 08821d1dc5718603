"""The official openai client for Node against the server. LATHE_NODE_MODULES is a folder in which npm ci has run."""
import os
import pathlib
import subprocess
import unittest

from harness import ServeTest

HERE = pathlib.Path(__file__).parent
MODULES = os.environ.get("LATHE_NODE_MODULES", "")


class Client(ServeTest):
    OPTIONS = ("--api-key", "k-test", "--parallel", "8", "--ctx", "2048")

    @classmethod
    def setUpClass(cls):
        if not (pathlib.Path(MODULES) / "node_modules" / "openai").is_dir():
            raise unittest.SkipTest("SKIPPED: the openai client is not installed (npm ci could not run)")
        super().setUpClass()
        cls.server.auth = {"Authorization": "Bearer k-test"}

    def test_every_check(self):
        result = subprocess.run(["node", HERE / "openai_client.mjs"], capture_output=True, text=True, timeout=280,
                                env={**os.environ, "LATHE_URL": self.server.url, "LATHE_KEY": "k-test"})
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertGreaterEqual(result.stdout.count("ok "), 10)


if __name__ == "__main__":
    unittest.main()
