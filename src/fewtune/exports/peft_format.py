"""A LoRA adapter in PEFT's format, written without PEFT: `PeftModel.from_pretrained` loads it.

PEFT's update is alpha / sqrt(r) * B A with `use_rslora`, so the layer's scale s is stored as
alpha = s * sqrt(r).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from fewtune.backbones import clip
from fewtune.backbones.config_files import holds_clip_config
from fewtune.backbones.model_names import resolve
from fewtune.core.errors import AdapterError
from fewtune.core.files import read_json, write_json
from fewtune.exports import merged
from fewtune.exports.hub_card import write_card
from fewtune.exports.parity_probe import Probe, ensemble
from fewtune.model.lora import LoraLinear
from fewtune.training.load_run import Tuned
from fewtune.training.tensor_files import write_tensors

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
KEY = "base_model.model.{}.lora_{}.weight"

LOAD = """\
from peft import PeftModel

base = {base!r}
model = PeftModel.from_pretrained(CLIPModel.from_pretrained(base{revision}), ".").eval()
processor = AutoImageProcessor.from_pretrained(base)
"""


def refuse(tuned: Tuned) -> None:
    """Refuse what is not LoRA on a model that transformers can load.

    Raises:
        AdapterError: Something else was trained, or the backbone is not in transformers' format.
    """
    merged.refuse(tuned)
    name = tuned.spec.strategy if tuned.spec else "This run"
    layers = lora_layers(tuned)
    trained = {f"{layer}.{matrix}" for layer in layers for matrix in "AB"}
    if not layers or trained != set(tuned.head.model.tuned()):
        raise AdapterError(
            f"{name} trains other tensors than low-rank updates; PEFT's format has no place "
            "for them.",
            hint="Use --to hf, which writes the merged model.",
        )
    source = resolve(tuned.head.model.name)
    if source.kind != "hub" and not (source.path.is_dir() and holds_clip_config(source.path)):
        raise AdapterError(
            f"The backbone {source.path} is not in transformers' format, so an adapter for it "
            "could not be loaded.",
            hint="Use --to hf, which writes the merged model.",
        )


def lora_layers(tuned: Tuned) -> dict[str, LoraLinear]:
    """Return the low-rank layers by their place in the backbone."""
    modules = tuned.head.model.net.named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLinear)}


def write(tuned: Tuned, folder: Path) -> None:
    """Write weights, configuration, classes and a card."""
    layers = lora_layers(tuned)
    tensors = {
        KEY.format(name, matrix): getattr(layer, matrix).detach().cpu().contiguous()
        for name, layer in layers.items()
        for matrix in "AB"
    }
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    source = resolve(tuned.head.model.name)
    base = source.repo if source.kind == "hub" else str(source.path.absolute())
    revision = tuned.head.model.revision
    write_json(folder / CONFIG, _config(layers, base, revision))
    merged.write_classes(tuned, folder)
    pin = f", revision={revision!r}" if source.kind == "hub" else ""
    load = LOAD.format(base=base, revision=pin)
    write_card(tuned, folder, "peft", merged.HEADER + load + merged.CLASSIFY)


def logits(tuned: Tuned, folder: Path, probe: Probe) -> list[Tensor]:
    """Return the probe's logits (N, C) of a fresh backbone, the files merged into it by hand."""
    model = clip.load(tuned.head.model.name)
    config = read_json(folder / CONFIG)
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name in config["target_modules"]:
            rank = config["rank_pattern"].get(name, config["r"])
            alpha = config["alpha_pattern"].get(name, config["lora_alpha"])
            a, b = (tensors.pop(KEY.format(name, matrix)) for matrix in "AB")
            weight = model.net.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            weight += alpha / math.sqrt(rank) * (b @ a)
    if tensors:
        raise AdapterError(f"The export was refused: {next(iter(tensors))} has no target.")
    prompts = tuned.head.prompts(tuned.classes)
    ids, _ = model.tokenize(prompts.texts)
    classes = ensemble(merged.encode_texts(model.net, ids), prompts)
    return [merged.plain_logits(model.net, probe.pixels, classes)]


def _config(layers: dict[str, LoraLinear], base: str, revision: str) -> dict[str, Any]:
    ranks = {name: layer.A.shape[0] for name, layer in layers.items()}
    # Without the rounding, alpha 1 would be stored as 1.0000000000000002.
    alphas = {n: round(layer.scale * math.sqrt(ranks[n]), 9) for n, layer in layers.items()}
    first = next(iter(layers))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "revision": revision,
        "inference_mode": True,
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "use_rslora": True,
        "lora_dropout": layers[first].dropout,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": list(layers),
        "rank_pattern": {n: r for n, r in ranks.items() if r != ranks[first]},
        "alpha_pattern": {n: a for n, a in alphas.items() if a != alphas[first]},
    }
