#!/usr/bin/env python3
"""The program stays light: few shared libraries, none of the heavy ones, and a start that costs few instructions.

Usage: check_binary.py libraries|start PROGRAM. Exit status 77 means skipped: a tool is missing.
"""
import re
import shutil
import subprocess
import sys
import tempfile

MOST_LIBRARIES = 14  # the C and C++ runtimes and the loader included
HEAVY = ["torch", "c10", "faiss", "mpi", "grpc", "protobuf", "cuda", "cublas", "opencv", "rdkit", "python"]
MOST_INSTRUCTIONS = 10_000_000  # of `lathe --version`, dynamic linking included
SKIPPED = 77


def libraries(program):
    listing = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    names = [line.split()[0] for line in listing.splitlines() if line.strip()]
    print("\n".join(names))
    heavy = [name for name in names for word in HEAVY if name.split("/")[-1].startswith("lib" + word)]
    if len(names) < 2:
        print("ldd lists next to nothing: is this check looking at the right file?")
        return 1
    if heavy:
        print(f"heavy libraries at start: {', '.join(heavy)}")
        return 1
    if len(names) > MOST_LIBRARIES:
        print(f"{len(names)} shared libraries, at most {MOST_LIBRARIES}")
        return 1
    return 0


def with_perf(program):
    result = subprocess.run(["perf", "stat", "-x", ",", "-e", "instructions:u", program, "--version"],
                            capture_output=True, text=True)
    match = re.search(r"^(\d+),[^\n]*instructions", result.stderr, re.M)
    return int(match.group(1)) if match else None


def with_callgrind(program):
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out", program, "--version"],
                                capture_output=True, text=True)
    match = re.search(r"Collected : (\d+)", result.stderr)
    return int(match.group(1)) if match else None


def start(program):
    count = None
    for tool, measure in (("perf", with_perf), ("valgrind", with_callgrind)):
        if count is None and shutil.which(tool):
            count = measure(program)
            if count is not None:
                print(f"lathe --version: {count} instructions ({tool})")
    if count is None:
        print("SKIPPED: neither perf nor valgrind can count instructions here")
        return SKIPPED
    if count < 10_000:
        print("next to nothing was counted: is this check looking at the right program?")
        return 1
    return 0 if count <= MOST_INSTRUCTIONS else 1


if __name__ == "__main__":
    sys.exit({"libraries": libraries, "start": start}[sys.argv[1]](sys.argv[2]))
