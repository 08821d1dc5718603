#!/usr/bin/python3
"""Records what Jinja2 itself makes of chat templates, for tests/text/.

  record.py cases                       rewrites cases.json from cases_input.py
  record.py templates <folder of .jinja files>   rewrites templates.json

The environment is the one that transformers' apply_chat_template documents: an immutable sandbox, trim_blocks and
lstrip_blocks, loop controls, the generation tag, a tojson without HTML escapes, raise_exception and strftime_now (here
with a fixed date). Two deviations, each recorded with the result: where the immutable sandbox refuses list.append and
its like, the mutable one is used ("mutable"); and from_json, which one model's template expects from its host, exists.
"""

import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

HERE = pathlib.Path(__file__).resolve().parent
NOW = datetime.datetime(2026, 1, 15, 9, 5, 7)


class Raised(Exception):
    pass


class Generation(jinja2.ext.Extension):
    """{% generation %}...{% endgeneration %}: only its content matters here."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise Raised(str(message))


def environment(kind):
    env = kind(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


IMMUTABLE = environment(jinja2.sandbox.ImmutableSandboxedEnvironment)
MUTABLE = environment(jinja2.sandbox.SandboxedEnvironment)


def render(source, context):
    """{"output"} or {"raised": message} or {"error": kind, "line"}."""
    for env in (IMMUTABLE, MUTABLE):
        result = {"mutable": True} if env is MUTABLE else {}
        try:
            return {**result, "output": env.from_string(source).render(**json.loads(json.dumps(context)))}
        except Raised as problem:
            return {**result, "raised": str(problem)}
        except jinja2.sandbox.SecurityError:
            continue
        except Exception as problem:  # whatever Python code a template may reach
            line = getattr(problem, "lineno", None)
            trace = problem.__traceback__
            while trace is not None:
                if trace.tb_frame.f_code.co_filename == "<template>":
                    line = trace.tb_lineno
                trace = trace.tb_next
            return {**result, "error": type(problem).__name__, "line": line}
    return {"error": "SecurityError", "line": None}


def digest(text):
    """Length in bytes and FNV-1a hash: what is kept of texts that are mostly the wording of other people's templates."""
    value = 0xCBF29CE484222325
    raw = text.encode("utf-8")
    for byte in raw:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{len(raw)}:{value:016x}"


def digested(result):
    return {key: digest(value) if key in ("output", "raised") else value for key, value in result.items()}


def record_cases():
    sys.path.insert(0, str(HERE))
    from cases_input import CASES

    cases = []
    for case in CASES:
        source, context = case if isinstance(case, tuple) else (case, {})
        cases.append({"template": source, "context": context, **render(source, context)})
    (HERE / "cases.json").write_text(json.dumps(cases, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    kinds = [next(k for k in ("output", "raised", "error") if k in case) for case in cases]
    print(len(cases), "cases:", {kind: kinds.count(kind) for kind in set(kinds)})
    for case in cases:
        if "error" in case:
            print("  error:", case["error"], "line", case["line"], repr(case["template"])[:100])


def record_templates(folder):
    contexts = json.loads((HERE / "contexts.json").read_text(encoding="utf-8"))
    results = {}
    for path in sorted(pathlib.Path(folder).glob("*.jinja")):
        source = path.read_text(encoding="utf-8")
        results[path.name] = {name: digested(render(source, context)) for name, context in contexts.items()}
    (HERE / "templates.json").write_text(json.dumps(results, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    flat = [result for per in results.values() for result in per.values()]
    print(len(results), "templates,", len(flat), "renderings,", sum("output" in r for r in flat), "with output,",
          sum("raised" in r for r in flat), "raised,", sum("error" in r for r in flat), "errors")


if __name__ == "__main__":
    if sys.argv[1:] == ["cases"]:
        record_cases()
    elif len(sys.argv) == 3 and sys.argv[1] == "templates":
        record_templates(sys.argv[2])
    else:
        sys.exit(__doc__)
