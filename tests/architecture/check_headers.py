#!/usr/bin/env python3
"""Every source file starts with a comment that says what it is for, and no file outside tests grows without bound.

Usage: check_headers.py ROOT.
"""
import pathlib
import sys

FOLDERS = ["src", "include", "tests", "bench", "examples"]
SOURCES = {".h", ".hpp", ".cpp", ".c", ".cu"}
MOST_LINES = 700


def starts_with_comment(text):
    first = text.lstrip().split("\n", 1)[0]
    return first.startswith("//") or first.startswith("/*")


def main():
    root = pathlib.Path(sys.argv[1])
    problems = []
    for folder in FOLDERS:
        for path in sorted(p for p in (root / folder).rglob("*") if p.suffix in SOURCES):
            text = path.read_text(encoding="utf-8")
            where = path.relative_to(root)
            explained = starts_with_comment(text)
            # An implementation may leave it to the header of its name.
            if not explained and path.suffix == ".cpp":
                header = path.with_suffix(".h")
                explained = header.exists() and starts_with_comment(header.read_text(encoding="utf-8"))
            if not explained:
                problems.append(f"{where}: does not say what it is for in its first lines")
            lines = text.count("\n")
            if folder == "src" and lines > MOST_LINES:
                problems.append(f"{where}: {lines} lines, at most {MOST_LINES}")
    for problem in problems:
        print(problem)
    print(f"{len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
