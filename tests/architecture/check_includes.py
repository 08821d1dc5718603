#!/usr/bin/env python3
"""The rooms of the house: fails when an include points upward or a heavy library leaks out of its room.

Usage: check_includes.py ROOT [--self-test]. ROOT/src/<room>/ are the rooms; ALLOWED says what each may include.
"""
import pathlib
import re
import sys
import tempfile

# Direct permissions; what a permitted room may include is permitted too. docs/architecture.md draws the same table.
ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "text": ["base"],
    "media": ["base"],
    "net": ["base"],
    "arch": ["tensor"],
    "kernels": ["tensor"],
    "api": ["text", "net"],
    "formats": ["arch", "text"],
    "model": ["arch", "kernels", "media"],
    "cache": ["model", "net"],
    "engine": ["cache", "formats", "api"],
    "capi": ["engine"],
    "quant": ["engine"],
    "learn": ["engine"],
    "analyze": ["engine"],
    "retrieve": ["api"],
    "eval": ["api", "retrieve"],
    "serve": ["engine", "retrieve", "analyze"],
    "apps": ["eval", "retrieve", "api", "learn"],
    "cli": ["apps", "eval", "serve", "quant", "learn", "analyze", "retrieve", "engine"],
}

# Third-party headers that only these rooms may see.
ONLY_IN = [
    (re.compile(r"^CLI/"), ["cli"]),
    (re.compile(r"^(torch|ATen|c10)/"), ["learn"]),
    (re.compile(r"^faiss/"), ["retrieve"]),
    (re.compile(r"^(mpi\.h|grpcpp/)"), ["net"]),
    (re.compile(r"^(boost/|openssl/)"), ["net", "serve"]),
    (re.compile(r"^(hwy/|immintrin\.h|arm_neon\.h|cuda)"), ["kernels"]),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
SOURCES = {".h", ".hpp", ".cpp", ".c", ".cu"}


def closure(room):
    """Every room that `room` may include, itself among them."""
    seen, todo = set(), [room]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(ALLOWED[name])
    return seen


def check(root):
    """The list of violations under root/src, as lines of text."""
    src = root / "src"
    problems = []
    for path in sorted(p for p in src.rglob("*") if p.suffix in SOURCES):
        where = path.relative_to(root)
        room = path.relative_to(src).parts[0]
        if room not in ALLOWED:
            problems.append(f"{where}: '{room}' is no room of the table in tests/architecture/check_includes.py")
            continue
        may = closure(room)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            local, system = match.groups()
            for pattern, only in ONLY_IN:
                if pattern.match(local or system) and room not in only:
                    problems.append(f"{where}:{number}: only {' and '.join(only)} may include {local or system}")
            if local is None:
                continue
            target = local.split("/")[0]
            if target not in ALLOWED and "/" in local and not local.startswith("."):
                continue  # a library's header in quotes
            if local.startswith("../") or not (src / local).is_file():
                problems.append(f"{where}:{number}: \"{local}\" is not written from src/")
            elif target not in may:
                problems.append(f"{where}:{number}: {room}/ may not include {target}/ ({local})")
    return problems


def self_test():
    """The checker itself: each kind of violation must be found, and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)

        def write(name, text):
            (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "src" / name).write_text(text)

        write("base/a.h", "#include <vector>\n")
        write("engine/e.h", '#include "base/a.h"\n')
        write("cli/main.cpp", '#include <CLI/App.hpp>\n#include "engine/e.h"\n')
        assert check(root) == [], check(root)
        write("base/bad.cpp", '#include "engine/e.h"\n')
        write("engine/bad.h", '#include <CLI/App.hpp>\n#include "../base/a.h"\n#include <torch/all.h>\n')
        write("tensor/bad.h", '#include <hwy/highway.h>\n')
        write("attic/x.h", "\n")
        found = check(root)
        assert len(found) == 6, found
        assert any("base/ may not include engine/" in p for p in found), found
    assert "base" in closure("cli") and "cli" not in closure("engine")


def main():
    self_test()
    problems = check(pathlib.Path(sys.argv[1]))
    for problem in problems:
        print(problem)
    print(f"{len(problems)} violations")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
