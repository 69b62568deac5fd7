"""A LoRA adapter in PEFT's format, written without PEFT: `PeftModel.from_pretrained` loads it.

PEFT's update is alpha / sqrt(r) * B A with `use_rslora`, so the layer's scale s is stored as
alpha = s * sqrt(r).
"""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPModel

from fewtune.backbones.config_files import holds_clip_config
from fewtune.backbones.hub_snapshot import snapshot
from fewtune.backbones.model_names import resolve
from fewtune.backbones.weight_files import find_weights
from fewtune.core.errors import AdapterError
from fewtune.core.files import read_json, write_json
from fewtune.exports import merged
from fewtune.exports.hub_card import write_card
from fewtune.exports.parity_probe import Probe
from fewtune.model.lora import LoraLinear
from fewtune.training.load_run import Tuned
from fewtune.training.tensor_files import write_tensors

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BACKBONE = "backbone"  # a folder of the export, where transformers could not load the run's own
KEY = "base_model.model.{}.lora_{}.weight"

LOAD = """\
from peft import PeftModel

base = CLIPModel.from_pretrained({base!r}, dtype="float32"{revision})
model = PeftModel.from_pretrained(base, ".").eval()
"""


def refuse(tuned: Tuned) -> None:
    """Refuse what is not LoRA.

    Raises:
        AdapterError: Something else was trained.
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
    if merged.has_stem(tuned.head.model.net):
        raise AdapterError(
            f"transformers cannot load {tuned.head.model.name}, which has a convolutional stem, so "
            "PEFT could not load an adapter for it.",
            hint="Use --to hf, which writes the merged model for FewTune.",
        )


def lora_layers(tuned: Tuned) -> dict[str, LoraLinear]:
    """Return the low-rank layers by their place in the backbone."""
    modules = tuned.head.model.net.named_modules()
    return {name: module for name, module in modules if isinstance(module, LoraLinear)}


def write(tuned: Tuned, folder: Path, probe: Probe) -> None:
    """Write weights, configuration, classes and a card, and a backbone if need be."""
    layers = lora_layers(tuned)
    tensors = {
        KEY.format(name, matrix): getattr(layer, matrix).detach().cpu().contiguous()
        for name, layer in layers.items()
        for matrix in "AB"
    }
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    model = tuned.head.model
    source = resolve(model.name)
    path = snapshot(source) if source.kind == "hub" else source.path
    base, pin = str(path.absolute()), ""
    if source.kind == "embedded" or not _loads_with_transformers(path):
        base = BACKBONE
        with model.original():
            merged.save_model(model.net, folder / BACKBONE)
    elif source.kind == "hub":
        base, pin = source.repo, f", revision={model.revision!r}"
    write_json(folder / CONFIG, _config(layers, base, model.revision))
    merged.write_classes(tuned, folder)
    with model.merged():
        facts = {"`AutoImageProcessor` alone": merged.processor_note(model.net, folder, probe)}
    usage = merged.usage(tuned, LOAD.format(base=base, revision=pin))
    write_card(tuned, folder, "peft", usage, facts)


def _loads_with_transformers(path: Path) -> bool:
    """Whether `CLIPModel.from_pretrained` finds a configuration and weights there."""
    return path.is_dir() and holds_clip_config(path) and bool(find_weights(path))


def logits(tuned: Tuned, folder: Path, probe: Probe) -> list[Tensor]:
    """Return the probe's logits (N, C) of a fresh backbone, the files merged into it by hand."""
    config = read_json(folder / CONFIG)
    source = resolve(tuned.head.model.name)
    path = snapshot(source) if source.kind == "hub" else source.path
    own = folder / BACKBONE
    with merged.quiet():
        net: Any = CLIPModel.from_pretrained(own if own.is_dir() else path, dtype=torch.float32)
    tensors = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name in config["target_modules"]:
            rank = config["rank_pattern"].get(name, config["r"])
            alpha = config["alpha_pattern"].get(name, config["lora_alpha"])
            a, b = (tensors.pop(KEY.format(name, matrix)) for matrix in "AB")
            net.get_submodule(name).weight += alpha / math.sqrt(rank) * (b @ a)
    if tensors:
        raise AdapterError(f"The export was refused: {next(iter(tensors))} has no target.")
    return [merged.from_class_file(net.eval(), folder, probe)]


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
