"""From the name of a backbone to a loaded CLIPModel with its tokenizer and preprocessing.

A checkpoint is one of three things on disk, however its name was spelled: a folder in transformers'
layout (a cached snapshot of the hub is one), a folder in open_clip's layout, or a single state
dict. Every tensor must find its place and every place its tensor; nothing is initialised at random.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from fewtune.backbones import conv_stem
from fewtune.backbones.config_files import (
    OPEN_CLIP_CONFIG,
    holds_clip_config,
    read_object,
    read_preprocess,
)
from fewtune.backbones.hub_snapshot import cached_snapshot, download_command, snapshot
from fewtune.backbones.model_names import BackboneSource, resolve
from fewtune.backbones.open_clip_config import read_extras
from fewtune.backbones.openai_format import convert_tensors, model_settings, plain_names
from fewtune.backbones.tokenizer import (
    LARGEST_ID_RULE,
    Tokenizer,
    load_tokenizer,
    quiet_transformers,
)
from fewtune.backbones.weight_files import (
    OPEN_CLIP_WEIGHTS,
    digest_files,
    find_weights,
    read_scalar,
    read_weights,
)
from fewtune.core.errors import AdapterError, FewTuneError
from fewtune.core.preprocess import Preprocess


@dataclass(frozen=True)
class Checkpoint:
    """A backbone as it was published, ready to be copied and tuned.

    Attributes:
        name: Canonical name: a short name, "org/model", or a local path as typed.
        revision: Commit of the hub snapshot; "sha256:" and 16 hex digits of the weights otherwise.
        model: In fp32, on CPU, in eval mode, nothing trainable.
    """

    name: str
    revision: str
    model: CLIPModel
    tokenizer: Tokenizer
    preprocess: Preprocess


@dataclass(frozen=True)
class TowerFacts:
    """The size of one tower."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a backbone without loading it; None where only its files could tell.

    Attributes:
        available: Whether it can be loaded now, without network.
        status: "embedded", "cached", "local", or why it is not available and what to type.
        activation: Of both towers; "a / b" for image and text where they differ.
        pooling: Which token of a prompt becomes its feature.
        logit_scale: Factor on cosine similarities (already exponentiated).
        embedding: Width of the space that both towers share.
    """

    name: str
    origin: str
    available: bool
    status: str
    licence: str = ""
    parameters: int | None = None
    revision: str | None = None
    activation: str | None = None
    pooling: str | None = None
    logit_scale: float | None = None
    preprocess: Preprocess | None = None
    patch_px: int | None = None
    image: TowerFacts | None = None
    text: TowerFacts | None = None
    embedding: int | None = None
    context: int | None = None
    vocabulary: int | None = None


@dataclass(frozen=True)
class _Files:
    """A checkpoint that was found and understood, its weights not necessarily read."""

    config: CLIPConfig
    preprocess: Preprocess
    weights: tuple[Path, ...]
    tokenizer_folder: Path | None
    converted: dict[str, Tensor] | None = None


def load_checkpoint(name: str) -> Checkpoint:
    """Return the backbone called `name`, downloading it when it is on the hub and not cached.

    Raises:
        ConfigError: The name means nothing, or a state dict leaves its activation open.
        AdapterError: The files are missing, damaged, or not those of a CLIP.
    """
    source = resolve(name)
    path = snapshot(source) if source.kind == "hub" else source.path
    files = _open(path, source)
    text = files.config.text_config
    return Checkpoint(
        name=source.name,
        revision=_revision(source, path, files),
        model=build_model(
            files.config, files.converted or read_weights(files.weights), files.weights[0]
        ),
        tokenizer=load_tokenizer(
            files.tokenizer_folder,
            context=text.max_position_embeddings,
            vocabulary=text.vocab_size,
            eos_token_id=text.eos_token_id,
        ),
        preprocess=files.preprocess,
    )


def describe(name: str) -> BackboneFacts:
    """Return what is known of the backbone called `name`, without network.

    A backbone that is not cached, or whose files are damaged, is described as such.

    Raises:
        ConfigError: The name means nothing.
    """
    source = resolve(name)
    facts = BackboneFacts(
        name=source.name,
        origin=source.repo or str(source.path),
        available=False,
        status=f"not cached; fetch it with: {download_command(source)}",
        licence=source.licence,
        parameters=source.parameters or None,
    )
    try:
        path = cached_snapshot(source) if source.kind == "hub" else source.path
        return facts if path is None else _read_facts(facts, source, path)
    except FewTuneError as error:
        return replace(facts, status=str(error))


def build_model(
    config: CLIPConfig,
    tensors: Mapping[str, Tensor],
    origin: Path,
    dtype: torch.dtype = torch.float32,
) -> CLIPModel:
    """Return a frozen CLIPModel in eval mode that holds exactly `tensors`.

    Args:
        tensors: Its parameters by name, in their shapes.
        origin: Where they come from, for messages.

    Raises:
        AdapterError: A tensor is missing, superfluous, or of another shape.
    """
    model = _empty_model(config, origin)
    # Files of older transformers versions also store this constant.
    given = {name: t for name, t in tensors.items() if not name.endswith(".position_ids")}
    _check_fit(model.state_dict(), given, origin)
    model.load_state_dict(
        {name: tensor.to(dtype) for name, tensor in given.items()}, strict=True, assign=True
    )
    for embeddings in (model.text_model.embeddings, model.vision_model.embeddings):
        count = embeddings.position_embedding.num_embeddings
        embeddings.position_ids = torch.arange(count).expand((1, -1))
    return model.eval().requires_grad_(False)


def _open(path: Path, source: BackboneSource) -> _Files:
    if path.is_file():
        return _open_state_dict(path, None)
    if not path.is_dir():
        raise AdapterError(
            f"This installation lacks the folder of backbone '{source.name}' ({path}).",
            hint="Install FewTune again.",
        )
    has_config = holds_clip_config(path)
    weights = find_weights(path)
    if has_config and weights:
        config = _read_config(path)
        preprocess = read_preprocess(path, config.vision_config.image_size)
        return _Files(config, preprocess, weights, path)
    if (path / OPEN_CLIP_CONFIG).is_file() and (found := find_weights(path, OPEN_CLIP_WEIGHTS)):
        return _open_state_dict(found[0], path)
    missing = "model.safetensors or pytorch_model.bin" if has_config else "a CLIP config.json"
    raise AdapterError(
        f"{path} does not hold a CLIP model: it lacks {missing}.",
        hint="A folder needs config.json and model.safetensors as transformers writes them, or "
        f"{OPEN_CLIP_CONFIG} and {OPEN_CLIP_WEIGHTS[0]}; a state dict is passed as a file.",
    )


def _open_state_dict(file: Path, tokenizer_folder: Path | None) -> _Files:
    tensors = plain_names(read_weights([file]))
    converted = convert_tensors(tensors, file)
    extras = read_extras(file, tensors)
    config = _make_config(model_settings(tensors, extras, file), file)
    preprocess = extras.preprocess(config.vision_config.image_size)
    return _Files(config, preprocess, (file,), tokenizer_folder, converted)


def _read_config(folder: Path) -> CLIPConfig:
    path = folder / "config.json"
    config = _make_config(read_object(path), path)
    text, vision = config.text_config, config.vision_config
    for label, value in (
        ("text_config.eos_token_id", text.eos_token_id),
        ("vision_config.image_size", vision.image_size),
        ("vision_config.patch_size", vision.patch_size),
    ):
        if not isinstance(value, int):
            raise AdapterError(f"{path}: {label} must be one number, found {value!r}.")
    return config


def _make_config(settings: Mapping[str, Any], path: Path) -> CLIPConfig:
    """Return the config without the storage type, which would make half-precision modules."""
    plain = {
        key: {k: v for k, v in value.items() if k not in ("dtype", "torch_dtype")}
        if isinstance(value, dict)
        else value
        for key, value in settings.items()
        if key not in ("dtype", "torch_dtype")
    }
    with _described_by(path):
        return CLIPConfig.from_dict(plain)


def _empty_model(config: CLIPConfig, origin: Path) -> CLIPModel:
    with _described_by(origin), torch.device("meta"):
        model = CLIPModel(config)
        conv_stem.attach(model.vision_model)
        return model


@contextmanager
def _described_by(path: Path) -> Iterator[None]:
    """Say which file is wrong when transformers cannot build what it describes."""
    try:
        with quiet_transformers():
            yield
    # Validation in transformers raises errors of several libraries.
    except Exception as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise AdapterError(
            f"{path} does not describe a CLIP model that transformers can build: {detail}",
            hint="Download the checkpoint again, or correct its config.json.",
        ) from error


def _check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], origin: Path) -> None:
    missing, superfluous = sorted(expected.keys() - given), sorted(given.keys() - expected)
    for problem, names in (("lacks", missing), ("has no place for", superfluous)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            subject = origin if problem == "lacks" else f"The model that goes with {origin}"
            raise AdapterError(
                f"{subject} {problem} '{names[0]}'{more}.",
                hint="The file is incomplete or belongs to another architecture.",
            )
    for name, tensor in given.items():
        if tensor.shape != expected[name].shape:
            raise AdapterError(
                f"{origin}: '{name}' has shape {tuple(tensor.shape)}, but the config asks for "
                f"{tuple(expected[name].shape)}.",
                hint="config.json and weights belong to different checkpoints.",
            )


def _revision(source: BackboneSource, path: Path, files: _Files) -> str:
    return path.name if source.kind == "hub" else digest_files(files.weights)


def _read_facts(facts: BackboneFacts, source: BackboneSource, path: Path) -> BackboneFacts:
    files = _open(path, source)
    text, vision = files.config.text_config, files.config.vision_config
    activations = dict.fromkeys((vision.hidden_act, text.hidden_act))
    if files.converted is None:
        scale = read_scalar(files.weights, "logit_scale")
    else:
        scale = float(files.converted["logit_scale"])
    empty = _empty_model(files.config, path)
    return replace(
        facts,
        available=True,
        status={"hub": "cached"}.get(source.kind, source.kind),
        parameters=sum(tensor.numel() for tensor in empty.state_dict().values()),
        revision=_revision(source, path, files),
        activation=" / ".join(activations),
        pooling="largest token id"
        if text.eos_token_id == LARGEST_ID_RULE
        else f"first token {text.eos_token_id}",
        logit_scale=None if scale is None else math.exp(scale),
        preprocess=files.preprocess,
        patch_px=vision.patch_size,
        image=_tower_facts(vision),
        text=_tower_facts(text),
        embedding=files.config.projection_dim,
        context=text.max_position_embeddings,
        vocabulary=text.vocab_size,
    )


def _tower_facts(config: Any) -> TowerFacts:
    return TowerFacts(config.hidden_size, config.num_hidden_layers, config.num_attention_heads)
