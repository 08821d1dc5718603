#!/usr/bin/env python3
"""Every compression method as a curve over the bits of the whole file, all files on one text.

Usage: compression_curves.py LATHE MODEL --calibration FILE --text FILE --out FOLDER [--windows 8] [--threads 0]
                             [--without METHOD]...

Quantizes MODEL with every method at every width that it has, groups of 64 weights, and with other groups where files of
equal size are needed to compare; files whose rows the codec does not divide are left out, and named. Then measures
with `lathe compare` all of them on the same windows of the text. FOLDER keeps files and figures, so that an interrupted run
goes on, and gets

  curves.md    a row for each file: file bits, perplexity, KL(original || file), top-1 agreement, and KL relative to what
               round to nearest and GPTQ onto plain integers (INT_ASYM, INT_SYM) reach at the same bits of the file:
               log KL read off between the best of their files on either side
  curves.json  the same, with the commands
  curves.svg   KL over file bits on a logarithmic axis, both methods' best plain integers as lines, all files as points
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys

GROUP = 64
INTEGERS = ("INT_ASYM", "INT_SYM")


def plan():
    """(method, codec, bits, group, further options); bits and group are None where the codec has one of each."""
    for bits in range(2, 9):
        for codec in INTEGERS:
            yield "rtn", codec, bits, GROUP, ()
            yield "gptq", codec, bits, GROUP, ()
        yield "awq", "INT_ASYM", bits, GROUP, ()
    for bits in range(2, 6):  # files of sizes in between
        for group in (16, 32, 128):
            yield "rtn", "INT_ASYM", bits, group, ()
            yield "gptq", "INT_ASYM", bits, group, ()
    for bits in (2, 3, 4):
        for threshold in ("0", "0.2"):
            for damping in ("0.01", "1"):
                yield ("spqr", "SPQR_ORDERED", bits, 16,
                       ("--outlier-threshold", threshold, "--damping", damping))
        yield "spqr", "SPQR_ORDERED", bits, GROUP, ("--outlier-threshold", "0.2", "--damping", "0.01")
    for bits in range(2, 7):
        yield "slim-llm", "SLIM", bits, GROUP, ()
    for bits in (2, 3):
        for group in (16, 32):
            yield "slim-llm", "SLIM", bits, group, ()
    for bits in (3, 4):
        yield "bitmod", "BITMOD", bits, GROUP, ()
        yield "awq", "BITMOD", bits, GROUP, ()
        yield "gptq", "BIPOLAR", bits, GROUP, ()
    yield "gptq", "BIPOLAR", 2, GROUP, ()
    for bits in (1, 2):
        yield "gptq", "BALANCED", bits, GROUP, ()
    yield "dgq", "DGQ", 4, GROUP, ()
    yield "dgq", "INT_ASYM", 4, GROUP, ()
    yield "db-llm", "FDB", 2, GROUP, ()
    yield "shadow", "W8A8", None, None, ()
    for codec in ("Q2_K", "Q3_K", "Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q5_K", "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS",
                  "MXFP4"):
        yield "rtn", codec, None, None, ()
    for codec in ("Q4_0", "Q5_0", "Q8_0"):
        yield "gptq", codec, None, None, ()
    for bits in range(2, 9):  # last: each quantizes the whole model 22 times in search of its strength
        yield "smoothquant+", "INT_ASYM", bits, GROUP, ("--calibration-sequences", "8")


def file_name(point):
    method, codec, bits, group, further = point
    parts = [method, codec] + ([f"{bits}-{group}"] if bits else [])
    return "-".join(parts + [f"{key.lstrip('-')}={value}" for key, value in zip(further[::2], further[1::2])]) + ".lathe"


def quantize_options(point):
    method, codec, bits, group, further = point
    sizes = ["--bits", str(bits), "--group", str(group)] if bits else []
    return ["--method", method, "--codec", codec, *sizes, *further]


def output_of(command, folder):
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)  # messages go through
    if result.returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return json.loads(result.stdout)


def keep_settings(args):
    """Files in the folder are of these inputs; a folder of others is refused."""
    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
    settings = {"model": digest(args.model), "calibration": digest(args.calibration),
                "sequences": args.calibration_sequences, "tokens": args.calibration_tokens, "text": digest(args.text),
                "windows": args.windows}
    path = args.out / "settings.json"
    if path.exists() and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{args.out} holds files of another model, texts or windows: name another folder")
    path.write_text(json.dumps(settings))


def quantized(args, point):
    """Whether the point's file is there and in its codec, made now unless it was."""
    name, codec = file_name(point), point[1]
    report = args.out / (name + ".json")
    if not report.exists():
        command = [args.lathe, "quantize", str(args.model), name, *quantize_options(point), "--calibration",
                   str(args.calibration), "--calibration-tokens", str(args.calibration_tokens), "-t", str(args.threads),
                   "--quiet", "--json"]
        if "--calibration-sequences" not in command:
            command += ["--calibration-sequences", str(args.calibration_sequences)]
        made = output_of(command, args.out)
        report.write_text(json.dumps(made))
    others = {t["codec"] for t in json.loads(report.read_text())["per_tensor"] if t["name"].startswith("blk.")} - {codec}
    if others:
        print(f"left out: {name}, whose rows are partly {', '.join(sorted(others))}", file=sys.stderr)
    return not others


def compared(args, points):
    """What `lathe compare` says of the original and of every file, a few in a call, those called before kept."""
    kept = args.out / "compared.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    missing = [file_name(point) for point in points if file_name(point) not in rows]
    for first in range(0, len(missing), 8):
        made = output_of([args.lathe, "compare", str(args.model), *missing[first:first + 8], "-f", str(args.text),
                          "--windows", str(args.windows), "--no-speed", "-t", str(args.threads), "--quiet", "--json"],
                         args.out)["rows"]
        rows.update({"original": made[0]} | {row["model"]: row for row in made[1:]})
        kept.write_text(json.dumps(rows))
    return rows["original"], [{**rows[file_name(point)], "point": point, "quantize": quantize_options(point)}
                              for point in points]


def frontier(rows):
    """(bits, log KL) of the rows that no smaller one is better than, by bits."""
    best = []
    for bits, kl in sorted((row["bits_per_weight"], row["kl"]) for row in rows):
        if not best or math.log(kl) < best[-1][1]:
            best.append((bits, math.log(kl)))
    return best


def kl_at(best, bits):
    """KL of the frontier at those bits, or None outside it."""
    for (x0, y0), (x1, y1) in zip(best, best[1:]):
        if x0 <= bits <= x1:
            return math.exp(y0 + (y1 - y0) * (bits - x0) / (x1 - x0))
    return None


def table(original, rows):
    lines = ["| method | codec | bits, group | options | file bits | perplexity | KL | top-1 | KL / rtn's | KL / gptq's |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
             f"| - | the original | - | - | {original['bits_per_weight']:.2f} | {original['perplexity']:.3f} | 0 | 100 % "
             "| - | - |"]
    for row in rows:
        method, codec, bits, group, further = row["point"]
        against = [f"{row[key]:.2f}" if row[key] else "-" for key in ("kl_over_rtn", "kl_over_gptq")]
        lines.append(f"| {method} | {codec} | {f'{bits}, {group}' if bits else '-'} | {' '.join(further) or '-'} | "
                     f"{row['bits_per_weight']:.3f} | {row['perplexity']:.3f} | {row['kl']:.4f} | "
                     f"{100 * row['top1_agreement']:.1f} % | {' | '.join(against)} |")
    return "\n".join(lines) + "\n"


COLOURS = {"rtn": "#888888", "gptq": "#1f77b4", "awq": "#2ca02c", "smoothquant+": "#9467bd", "spqr": "#d62728",
           "slim-llm": "#ff7f0e", "bitmod": "#17becf", "dgq": "#8c564b", "db-llm": "#e377c2", "shadow": "#000000"}


def drawing(rows, lines):
    """KL on a logarithmic axis over file bits; `lines` are frontiers by method."""
    width, height, left, right, top, bottom = 760, 520, 60, 130, 20, 45
    low, high = math.floor(min(r["bits_per_weight"] for r in rows)), math.ceil(max(r["bits_per_weight"] for r in rows))
    floor = math.floor(math.log10(min(r["kl"] for r in rows)))
    ceiling = math.ceil(math.log10(max(r["kl"] for r in rows)))
    x = lambda bits: left + (width - left - right) * (bits - low) / (high - low)
    y = lambda kl: top + (height - top - bottom) * (ceiling - math.log10(kl)) / (ceiling - floor)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
           f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>']
    for bits in range(low, high + 1):
        out.append(f'<path d="M{x(bits):.0f} {top}V{height - bottom}" stroke="#ddd"/>'
                   f'<text x="{x(bits):.0f}" y="{height - bottom + 16}" text-anchor="middle">{bits}</text>')
    for power in range(floor, ceiling + 1):
        at = y(10.0 ** power)
        out.append(f'<path d="M{left} {at:.0f}H{width - right}" stroke="#ddd"/>'
                   f'<text x="{left - 6}" y="{at + 4:.0f}" text-anchor="end">{10.0 ** power:g}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">bits per weight of the '
               'whole file</text>'
               f'<text transform="translate(14 {height / 2}) rotate(-90)" text-anchor="middle">KL to the original, '
               'nats</text>')
    for method, best in lines.items():
        path = "L".join(f"{x(bits):.1f} {y(math.exp(log)):.1f}" for bits, log in best)
        out.append(f'<path d="M{path}" fill="none" stroke="{COLOURS[method]}"/>')
    for row in rows:
        name = file_name(row["point"]).removesuffix(".lathe").replace("&", "&amp;")
        out.append(f'<circle cx="{x(row["bits_per_weight"]):.1f}" cy="{y(row["kl"]):.1f}" r="3" '
                   f'fill="{COLOURS[row["point"][0]]}"><title>{name}</title></circle>')
    for i, method in enumerate(m for m in COLOURS if any(row["point"][0] == m for row in rows)):
        out.append(f'<circle cx="{width - right + 20}" cy="{top + 16 * i + 8}" r="4" fill="{COLOURS[method]}"/>'
                   f'<text x="{width - right + 30}" y="{top + 16 * i + 12}">{method}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lathe", type=lambda path: str(pathlib.Path(path).resolve()))
    parser.add_argument("model", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--calibration", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--text", required=True, type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--calibration-sequences", type=int, default=32)
    parser.add_argument("--calibration-tokens", type=int, default=512)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--without", action="append", default=[], metavar="METHOD", help="leave a method out")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keep_settings(args)

    points = [point for point in plan() if point[0] not in args.without and quantized(args, point)]
    original, rows = compared(args, points)
    lines = {method: frontier([r for r in rows if r["point"][0] == method and r["point"][1] in INTEGERS])
             for method in ("rtn", "gptq")}
    for row in rows:
        for method, best in lines.items():
            there = kl_at(best, row["bits_per_weight"])
            row[f"kl_over_{method}"] = row["kl"] / there if there else None
    rows.sort(key=lambda row: row["bits_per_weight"])
    (args.out / "curves.json").write_text(json.dumps({"original": original, "rows": rows}, indent=1))
    (args.out / "curves.md").write_text(table(original, rows))
    (args.out / "curves.svg").write_text(drawing(rows, lines))


if __name__ == "__main__":
    main()
