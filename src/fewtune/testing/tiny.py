"""A random CLIP and a task of noisy gradients: offline, in milliseconds."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from fewtune.backbones import clip
from fewtune.core.files import write_json
from fewtune.core.task import ClassSet, Example, Task
from fewtune.data.decode import InMemory
from fewtune.model.dual_encoder import DualEncoder

CONTEXT = 48
SIZE_PX = 32
START, END = "<|startoftext|>", "<|endoftext|>"


PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "do_resize": True,
    "do_center_crop": True,
    "size": {"shortest_edge": SIZE_PX},
    "crop_size": {"height": SIZE_PX, "width": SIZE_PX},
    "resample": 3,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}


def tiny_clip_folder(folder: Path, *, blocks: int = 4, seed: int = 0) -> Path:
    """Write a random CLIPModel with tokenizer and preprocessor to `folder` and return it.

    32 px images in 8 px patches, width 32, joint dimension 16, one token per character. The weights
    are larger than CLIP's initialisation, so that its outputs depend visibly on its inputs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _character_tokenizer()
    config = _config(tokenizer, blocks)
    save_file(_weights(config, seed), folder / "model.safetensors", {"format": "pt"})
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    return folder


def _config(tokenizer: PreTrainedTokenizerFast, blocks: int) -> CLIPConfig:
    tower: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": blocks,
        "num_attention_heads": 4,
        "initializer_factor": 2.0,
    }
    text = {
        **tower,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id,
    }
    vision = {**tower, "image_size": SIZE_PX, "patch_size": 8}
    return CLIPConfig(
        text_config=text, vision_config=vision, projection_dim=16, initializer_factor=2.0
    )


def _weights(config: CLIPConfig, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(config)
        for name, parameter in model.named_parameters():
            if name.endswith(".bias"):
                torch.nn.init.normal_(parameter, std=0.1)
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def _character_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*alphabet, START, END])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
    )


def tiny_clip(folder: Path, *, blocks: int = 4, seed: int = 0) -> DualEncoder:
    """Return a random 4-block CLIP, stored in `folder`: a private copy of what was read there."""
    if not (folder / "config.json").exists():
        tiny_clip_folder(folder, blocks=blocks, seed=seed)
    return copy.deepcopy(_loaded(folder, (folder / "model.safetensors").stat().st_mtime_ns))


@functools.lru_cache(maxsize=4)
def _loaded(folder: Path, written_ns: int) -> DualEncoder:
    return clip.load(str(folder))


def tiny_task(*, classes: int = 3, train: int = 4, test: int = 6, seed: int = 0) -> Task:
    """Return a task of noisy images, a colour gradient per class; keys and pixels follow `seed`."""
    names = ("red", "green", "blue", "violet", "orange", "grey")[:classes]
    rng = np.random.default_rng(seed)

    def example(split: str, label: int, index: int) -> Example:
        base = np.random.default_rng(label).integers(40, 216, (4, 4, 3)).repeat(10, 0).repeat(9, 1)
        noisy = base + rng.normal(0, 25, base.shape)
        source = InMemory(noisy.clip(0, 255).astype(np.uint8))
        return Example(f"{split}/{names[label]}/{index}", label, source)

    def split(name: str, count: int) -> tuple[Example, ...]:
        return tuple(example(name, c, i) for c in range(classes) for i in range(count))

    return Task(
        "tiny",
        ClassSet(names, ("a photo of {}.",)),
        split("train", train),
        split("val", 2),
        split("test", test),
    )
