"""What the end-to-end tests share: they run the built program as a user would and look at what comes out.

LATHE names the program, LATHE_SOURCE the project's folder, LATHE_SHARED (optional) the shared data.
"""
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["LATHE"]
SOURCE = pathlib.Path(os.environ["LATHE_SOURCE"])
SHARED = pathlib.Path(os.environ.get("LATHE_SHARED", SOURCE.parent / "shared"))
GOLDEN = SOURCE / "tests" / "golden"
TINY_FILE = SOURCE / "models" / "tiny" / "stories260K.gguf"
TIMEOUT = 240  # seconds, far above what anything here needs even on a loaded machine


class CliTest(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self._folder = tempfile.TemporaryDirectory(prefix="lathe-test-")
        self.folder = pathlib.Path(self._folder.name)
        self.addCleanup(self._folder.cleanup)

    def lathe(self, *args, stdin="", status=0):
        """Runs the program; fails unless it exits with `status`. Text in, text out."""
        result = subprocess.run([PROGRAM, *map(str, args)], input=stdin.encode(), capture_output=True, timeout=TIMEOUT)
        result.stdout = result.stdout.decode("utf-8", "replace")
        result.stderr = result.stderr.decode("utf-8", "replace")
        self.assertEqual(result.returncode, status, f"lathe {args}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result

    def json(self, *args, **more):
        """The one JSON object that --json prints."""
        result = self.lathe(*args, "--json", **more)
        self.assertEqual(result.stdout.count("\n"), 1, result.stdout)
        return json.loads(result.stdout)

    def fails(self, status, *args, says=(), **more):
        """The one-line message of a failing run, which must contain every text of `says`."""
        result = self.lathe(*args, status=status, **more)
        message = result.stderr.strip()
        self.assertEqual(len(message.splitlines()), 1, message)
        self.assertTrue(message.startswith("error: "), message)
        self.assertEqual(result.stdout, "")
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, message)
        return message

    def need_shared(self, relative):
        path = SHARED / relative
        if not path.exists():
            self.skipTest(f"SKIPPED: shared data file not present: {relative}")
        return path


def golden_json(relative):
    return json.loads((GOLDEN / relative).read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit("run the test_*.py files")
