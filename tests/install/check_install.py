#!/usr/bin/env python3
"""Installs into an empty prefix, then builds and runs the examples against it: through find_package, and through
pkg-config as strict C89 and C++17.

Usage: check_install.py BUILD SOURCE MODEL.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def run(*command, **more):
    print("+", " ".join(map(str, command)), flush=True)
    return subprocess.run([str(part) for part in command], check=True, text=True, **more)


def output(*command, **more):
    return run(*command, stdout=subprocess.PIPE, **more).stdout


def main():
    build, source, model = map(pathlib.Path, sys.argv[1:4])
    with tempfile.TemporaryDirectory(prefix="lathe-install-") as folder:
        folder = pathlib.Path(folder)
        prefix = folder / "prefix"
        run("cmake", "--install", build, "--prefix", prefix, stdout=subprocess.DEVNULL)
        library = next(prefix.rglob("liblathe.so"))
        environment = dict(os.environ, LD_LIBRARY_PATH=str(library.parent),
                           PKG_CONFIG_PATH=str(next(prefix.rglob("lathe.pc")).parent))

        expected = output(prefix / "bin" / "lathe", "run", model, "-p", "Once upon a time", "--echo", "-n", "64",
                          "--temperature", "0", "--quiet")
        assert expected.startswith("Once upon a time, there was"), expected

        run("cmake", "-S", source / "examples", "-B", folder / "examples", f"-DCMAKE_PREFIX_PATH={prefix}",
            stdout=subprocess.DEVNULL)
        run("cmake", "--build", folder / "examples", stdout=subprocess.DEVNULL)
        programs = [folder / "examples" / name for name in ("generate_c", "generate_cpp", "generate_c_static")]

        flags = output("pkg-config", "--cflags", "--libs", "lathe", env=environment).split()
        run("cc", "-std=c89", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", source / "examples/c/generate.c", "-o",
            folder / "c", *flags)
        run("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source / "examples/cpp/generate.cpp", "-o", folder / "cpp",
            *flags)
        programs += [folder / "c", folder / "cpp"]

        for program in programs:
            text = output(program, model, env=environment)
            assert text == expected, (program, text, expected)
            missing = subprocess.run([program, folder / "none.gguf"], capture_output=True, text=True, env=environment)
            assert missing.returncode == 1 and "none.gguf" in missing.stderr, missing
        # A text is like itself, and less like another.
        run("cc", "-std=c89", "-pedantic-errors", "-Wall", "-Wextra", "-Werror", source / "examples/c/embed.c", "-o",
            folder / "embed", *flags)
        for program in (folder / "examples" / "embed_c", folder / "embed"):
            same, other = (float(output(program, model, "Once upon a time", text, env=environment))
                           for text in ("Once upon a time", "The dog was very happy."))
            assert abs(same - 1) < 1e-4 and -1 <= other < same - 1e-3, (same, other)
        exported = output("nm", "-D", "--defined-only", library).split("\n")
        foreign = [line for line in exported if line and not line.split()[-1].startswith("lathe_")]
        assert not foreign, foreign

        # The client's library alone, with a server that runs what it is given.
        flags = output("pkg-config", "--cflags", "--libs", "lathe-client", env=environment).split()
        run("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source / "examples/cpp/program.cpp", "-o", folder / "program",
            *flags)
        with subprocess.Popen([prefix / "bin" / "lathe", "serve", model, "--port", "0", "--json"], stdout=subprocess.PIPE,
                              text=True) as server:
            try:
                url = json.loads(server.stdout.readline())["url"]
                said = [output(program, url, env=environment)
                        for program in (folder / "examples" / "program_cpp", folder / "program")]
            finally:
                server.terminate()
        assert said[0] == said[1] and [line.split(":")[0] for line in said[0].splitlines()] == ["end", "said", "saw"], said
        gone = subprocess.run([folder / "program", url], capture_output=True, text=True, env=environment)
        assert gone.returncode == 1 and "connect" in gone.stderr, gone
        shown = output("nm", "-D", "-C", "--defined-only", library.with_name("liblathe-client.so")).split("\n")
        foreign = [line for line in shown
                   if line and not line.split(maxsplit=2)[2].startswith(("lathe::SemanticClient::", "lathe::run_program"))]
        assert not foreign, foreign
    print("installed, built and ran", len(programs) + 4, "programs")


if __name__ == "__main__":
    main()
