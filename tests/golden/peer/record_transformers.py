#!/usr/bin/python3
"""Records what Hugging Face's transformers computes on Lathe's synthetic models, for
tests/engine/parity_transformers_test.cpp.

  record_transformers.py LATHE [MODEL...]      rewrites transformers.json, or only the models named

LATHE is the program; needed are numpy, torch and transformers 4.57.6 (README.md beside this says what was run). Each
model is what `lathe synth PRESET FOLDER --codec F32` writes, with some keys of config.json changed to bring out what
is special about the family; weights do not depend on those keys. The package's own eager attention is used, in single
precision; `double` widens weights and activations for T5, whose unscaled scores magnify rounding (the package still
takes softmax in single precision). safetensors files are read by hand, so that nothing is downloaded or
remembered.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

HERE = pathlib.Path(__file__).resolve().parent
STRIDE = 16
WINDOW = 16  # of 200 tokens

# name: (preset, changed keys of config.json)
MODELS = {
    "gpt2": ("gpt2-tiny", {}),
    "qwen2-windows": ("qwen2-tiny", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2}),
    "qwen3": ("qwen3-tiny", {}),
    "mistral": ("mistral-tiny", {"sliding_window": WINDOW}),
    "mixtral": ("mixtral-tiny", {}),
    "qwen2moe": ("qwen2moe-tiny", {}),
    "qwen3moe": ("qwen3moe-tiny", {}),
    "phi2": ("phi2-tiny", {}),
    "phi3-window": ("phi3-tiny", {"sliding_window": WINDOW}),
    "phi3-longrope": ("phi3-tiny", {
        "original_max_position_embeddings": 128,
        "rope_scaling": {
            "type": "longrope",
            "short_factor": [1 + 0.125 * i for i in range(16)],
            "long_factor": [1 + 0.25 * i for i in range(16)],
        },
    }),
    "gemma": ("gemma-tiny", {}),
    "gemma2": ("gemma2-tiny", {}),
    "gemma3": ("gemma3-tiny", {}),
    "gptj": ("gptj-tiny", {}),
    "gptneox": ("gptneox-tiny", {}),
    "opt": ("opt-tiny", {}),
    "bloom": ("bloom-tiny", {}),
    "falcon": ("falcon-tiny", {}),
    "falcon-40b": ("falcon-40b-tiny", {}),
    "stablelm": ("stablelm-tiny", {}),
    "deepseek2-groups": ("deepseek2-tiny", {"topk_method": "group_limited_greedy", "n_group": 4, "topk_group": 2}),
    "deepseek3": ("deepseek3-tiny", {}),
    "deepseek3-yarn": ("deepseek3-tiny", {
        "rope_scaling": {
            "rope_type": "yarn",
            "type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 128,
            "beta_fast": 32,
            "beta_slow": 1,
            "mscale": 1.0,
            "mscale_all_dim": 0.7,
        },
    }),
    "bitnet": ("bitnet-tiny", {}),
    "t5": ("t5-tiny", {}),
    "flan-t5": ("flan-t5-tiny", {}),
    "transformer": ("transformer-tiny", {}),
}


def read_tensors(path):
    """Tensors of a safetensors file, by name: eight bytes of length, a JSON header, raw little-endian data."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        assert entry["dtype"] == "F32", name
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(numpy.frombuffer(raw[begin:end], "<f4").reshape(entry["shape"]).copy())
    return tensors


def build_transformer(description):
    """OpenNMT's TransformerBase out of M2M100's layers, which are the same: norms before the branches, ReLU, positions
    from 1 on (behind the padding id 0) with all sines before all cosines, embeddings times the root of the width. Each
    stack gets a table of its own, and the head is free and has a bias."""
    heads, width = description["num_attention_heads"], description["d_model"]
    config = transformers.M2M100Config(
        d_model=width, encoder_layers=description["encoder_layers"], decoder_layers=description["decoder_layers"],
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=description["ffn_dim"],
        decoder_ffn_dim=description["ffn_dim"], vocab_size=description["decoder_vocab_size"], scale_embedding=True,
        max_position_embeddings=description["max_position_embeddings"], activation_function="relu", pad_token_id=0,
        decoder_start_token_id=description["decoder_start_token_id"], tie_word_embeddings=False,
    )
    config._attn_implementation = "eager"
    model = transformers.M2M100ForConditionalGeneration(config)
    stacks = model.model
    stacks.shared = None
    for stack, rows in (stacks.encoder, description["vocab_size"]), (stacks.decoder, config.vocab_size):
        stack.embed_tokens.weight = torch.nn.Parameter(torch.empty(rows, width))
    model.lm_head = torch.nn.Linear(width, config.vocab_size)
    return model, config


def open_transformer(folder, description):
    model, config = build_transformer(description)
    tensors = read_tensors(folder / "model.safetensors")
    model.load_state_dict({name if name.startswith("lm_head") else "model." + name: t for name, t in tensors.items()})
    return model.float().eval(), config


def open_model(folder, changes):
    description = json.loads((folder / "config.json").read_text()) | changes
    if description["model_type"] == "transformer":
        return open_transformer(folder, description)
    name = description.pop("architectures")[0]
    # Padding takes no part; the default id of some families lies beyond a small vocabulary.
    config = transformers.AutoConfig.for_model(description.pop("model_type"), **description, pad_token_id=None)
    config._attn_implementation = "eager"
    model = getattr(transformers, name)(config).float().eval()
    missing, unexpected = model.load_state_dict(read_tensors(folder / "model.safetensors"), strict=False)
    model.tie_weights()
    # What is not in the file must be a tied copy of something that is.
    loaded = {parameter.data_ptr() for key, parameter in model.state_dict().items() if key not in missing}
    absent = [key for key in missing if model.state_dict()[key].data_ptr() not in loaded]
    assert not absent and not unexpected, (name, absent, unexpected)
    return model, config


def record(lathe, name, ids, source, target):
    preset, changes = MODELS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder) / "model"
        subprocess.run([lathe, "synth", preset, folder, "--codec", "F32", "--quiet"], check=True)
        model, config = open_model(folder, changes)
    double = config.model_type == "t5"
    if double:
        model = model.double()
    with torch.no_grad():
        if config.is_encoder_decoder:
            assert 0 not in source + target  # the id of padding
            decoded = torch.tensor([[config.decoder_start_token_id] + target])
            logits = model(input_ids=torch.tensor([source]), decoder_input_ids=decoded, use_cache=False).logits
        else:
            logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    values = [float(f"{value:.7g}") for value in logits[0, -1, ::STRIDE].tolist()]
    return {"preset": preset, "config": changes, "double": double, "logits": values}


def main(lathe, *names):
    unknown = set(names) - set(MODELS)
    assert not unknown, unknown
    path = HERE / "transformers.json"
    families = json.loads((HERE / "families.json").read_text())
    translate = json.loads((HERE / "translate.json").read_text())
    ids, source, target = families["ids"], translate["source"], translate["target"]
    models = json.loads(path.read_text())["models"] if names else {}
    for name in names or MODELS:
        models[name] = record(lathe, name, ids, source, target)
        print(name, max(map(abs, models[name]["logits"])), flush=True)
    recording = {
        "engine": "transformers",
        "engine_version": transformers.__version__,
        "stride": STRIDE,
        "ids": ids,
        "source": source,
        "target": target,
        "models": {name: models[name] for name in MODELS if name in models},
    }
    path.write_text(json.dumps(recording, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
