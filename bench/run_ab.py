#!/usr/bin/env python3
"""Decode speed of `lathe run` with and without some options, alternately in one run, so that what else the machine does
meets both alike.

Usage: run_ab.py LATHE MODEL [--rounds 5] [--prompts FILE] [--tokens 64] [--common "OPTIONS"] --with "OPTIONS"

FILE holds a prompt a line. Prints the median of the ratio (with / without) over prompts and rounds, the ratio of the
summed times, and what a draft guessed. Texts must be equal when only a draft is added; how many are is printed.
"""
import argparse
import json
import pathlib
import shlex
import statistics
import subprocess


def run(args, prompt, options):
    command = [args.lathe, "run", args.model, "-p", prompt, "-n", str(args.tokens), "--json", "--quiet"]
    result = subprocess.run(command + shlex.split(args.common) + shlex.split(options), capture_output=True, text=True)
    if result.returncode != 0:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lathe")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompts", type=pathlib.Path)
    parser.add_argument("--common", default="--ignore-eos")
    parser.add_argument("--with", dest="options", required=True)
    args = parser.parse_args()
    prompts = args.prompts.read_text(encoding="utf-8").splitlines() if args.prompts else ["Once upon a time"]
    ratios, seconds, guessed, accepted, tokens, same = [], [0.0, 0.0], 0, 0, [0, 0], 0
    speeds = [[], []]
    for _ in range(args.rounds):
        for prompt in prompts:
            plain, other = run(args, prompt, ""), run(args, prompt, args.options)
            for i, result in enumerate((plain, other)):
                seconds[i] += result["decode_seconds"]
                tokens[i] += len(result["ids"]) - 1
                speeds[i].append(result["decode_tokens_per_second"])
            ratios.append(other["decode_tokens_per_second"] / plain["decode_tokens_per_second"])
            same += plain["ids"] == other["ids"]
            guessed += other.get("draft", {}).get("guessed", 0)
            accepted += other.get("draft", {}).get("accepted", 0)
    print(f"without: median {statistics.median(speeds[0]):.1f} tokens/s; with {args.options}: "
          f"{statistics.median(speeds[1]):.1f}")
    print(f"speed ratio: median {statistics.median(ratios):.3f} of {len(ratios)} pairs "
          f"({min(ratios):.3f} to {max(ratios):.3f}); by summed time "
          f"{tokens[1] / seconds[1] / (tokens[0] / seconds[0]):.3f}; equal texts {same} of {len(ratios)}")
    if guessed:
        print(f"guesses: {accepted} of {guessed} right ({accepted / guessed:.2f}); "
              f"{tokens[1] / (tokens[1] - accepted):.2f} tokens per pass of the model")


if __name__ == "__main__":
    main()
