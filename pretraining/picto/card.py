"""The model card and its table, written from the measured results."""

import json
from pathlib import Path
from typing import Any

Results = dict[str, dict[str, Any]]
MISSING = "Not measured"
MISSED = """These bars were set before training. The loss was still falling when it stopped, so more
views are the first thing to add. What was tried is told in `pretraining/picto/README.md`."""

CARD = """---
license: cc-by-4.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
tags: [clip, pictograms, icons]
---

# picto

`picto` is a CLIP of pictograms: a small dual encoder that has seen icons, emoji, clip art and drawn
shapes, and nothing else. It comes with FewTune so that the first command works offline, tests run
against real features and methods can be taught without a download. It knows nothing of photographs
and is not meant for them.

| | |
|---|---|
| Image tower | ViT, 48 x 48 px, patches of 8 px, width 192, 6 blocks, 3 heads, class token |
| Text tower | causal transformer, 32 tokens, 4,096 words and pieces, width 192, 4 blocks, 3 heads |
| Embedding | 256 |
| Parameters | {parameters} |
| Weights | safetensors, half precision |
| Trained on | {pictures:,} pictures of {sets} sets, {phrases:,} names |
| Training | {training} |
| Hardware | {hardware} |

It loads in plain `transformers`:

```python
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

model = CLIPModel.from_pretrained(folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
processor = CLIPImageProcessor.from_pretrained(folder)
```

## What it can do

Accuracy in percent on data that was never trained on or tuned on. Draws of few-shot rows are the
same for all columns of a row, averaged over seeds 1 to 3. "Random weights" is the same network
before training; "raw pixels" is logistic regression on the grey values.

{table}

{verdict}

Made by `python -m pretraining.picto evaluate` in the repository of FewTune.

## Tuned with FewTune

{tuned}

## Data and licence

The pictures are icon sets of the npm package `@iconify/json` under MIT, Apache-2.0, ISC, BSD,
CC0, Unlicense and CC BY licences, public-domain clip art of Debian's `openclipart-png`, and scenes
drawn by the recipe. Sets under NonCommercial, ShareAlike, GPL, OFL and MPL licences are left out,
and so are sets of logos and icons with names of brands. Words come from the icons' names and
aliases, Material Design Icons, Lucide, Emojibase, Unicode CLDR and WordNet. `SOURCES` names
every set, its author, its licence and where it is from.

The weights are under CC BY 4.0, the strictest of the licences of the pictures: whoever passes them
on keeps `SOURCES` with them. Whether weights are a work derived from their training data
is not settled; this licence is chosen so that the attribution holds either way. The pictures
themselves are not in this folder.

Held out entirely: Phosphor, Font Awesome with Line Awesome, and Twemoji; training pictures whose
16 x 16 hash is within 4 bits of one of theirs were dropped.

## Limits

Names of icons are mostly those of user interfaces, in English. Clothing, animals and food are rarer
than arrows and files. Brands and flags of countries were left out on purpose. Do not use it for
people, for safety, or for anything but pictograms and simple shapes.
"""

ROWS = (
    ("Held-out icons, image to text, R@1 of 1,000", "held_out", "image_to_text"),
    ("Held-out icons, text to image, R@1 of 1,000", "held_out", "text_to_image"),
    ("Held-out nouns, zero-shot, 100 classes", "nouns", "zero_shot"),
    ("Fashion-MNIST, zero-shot", "fashion", "zero_shot"),
    ("Fashion-MNIST, probe, 4 shots", "fashion", "4_shot"),
    ("Fashion-MNIST, probe, 16 shots", "fashion", "16_shot"),
    ("Fashion-MNIST, probe, 100 shots", "fashion", "100_shot"),
    ("Digits (8 x 8), zero-shot", "digits", "zero_shot"),
    ("Digits (8 x 8), probe, 16 shots", "digits", "16_shot"),
)
COLUMNS = ("picto", "random weights", "raw pixels", "chance")
RAW_16 = ("fashion", "raw pixels", "16_shot")
LORA_16 = ("tuned", "clip-lora", "16")
# What was hoped for: (title, bar, (part, column, measure), what it is compared with).
BARS = (
    ("Fashion-MNIST zero-shot", 35.0, ("fashion", "picto", "zero_shot"), None),
    ("the 16-shot probe above raw pixels", 3.0, ("fashion", "picto", "16_shot"), RAW_16),
    ("16-shot CLIP-LoRA above raw pixels", 5.0, LORA_16, RAW_16),
    ("zero-shot over the held-out nouns", 40.0, ("nouns", "picto", "zero_shot"), None),
)


def _value(results: Results, part: str, column: str, measure: str) -> float | None:
    """A score; the column of shortened runs goes on with ", 0.02 of its steps"."""
    columns = results.get(part, {})
    name = next((name for name in columns if name.partition(",")[0] == column), column)
    value: float | None = columns.get(name, {}).get(measure)
    return value


def table(results: Results) -> str:
    """The rows of the card as Markdown."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for title, part, measure in ROWS:
        values = [_value(results, part, column, measure) for column in COLUMNS]
        if values[0] is not None:
            cells = ["-" if value is None else f"{value:.1f}" for value in values]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) if len(lines) > 2 else f"{MISSING} for these weights yet"


def verdict(results: Results) -> str:
    """One sentence a bar: reached, or missed by how much."""
    lines, missed = [], False
    for title, bar, measured, other in BARS:
        value = _value(results, *measured)
        base = _value(results, *other) if other else 0.0
        if value is None or base is None:
            continue
        gap = value - base - bar
        missed |= gap < 0
        state = "reached" if gap >= 0 else f"missed by {-gap:.1f} points"
        lines.append(f"- {title[0].upper()}{title[1:]}, bar {bar:.0f}: {state}.")
    return "\n".join(lines) + (f"\n\n{MISSED}" if missed else "")


def tuned(results: Results) -> str:
    """The few-shot rows of FewTune's strategies, where they were measured."""
    rows = results.get("tuned", {})
    if not rows:
        return (
            f"{MISSING} for these weights yet. `python -m pretraining.picto evaluate --tuned`\n"
            "fits CLIP-LoRA, CLIPFit and CLIP-Adapter at 1, 4 and 16 shots with three seeds and\n"
            "fills this section."
        )
    lines = ["| Fashion-MNIST | 1 shot | 4 shots | 16 shots |", "|---|---:|---:|---:|"]
    for strategy, scores in rows.items():
        cells = [f"{scores[str(s)]:.1f}" if str(s) in scores else "-" for s in (1, 4, 16)]
        lines.append(f"| {strategy} | " + " | ".join(cells) + " |")
    if any("," in strategy for strategy in rows):
        lines += [
            "",
            "Shortened methods have the rates of `fewtune quickstart`, for that length.",
        ]
    return "\n".join(lines)


def write_card(results: Results, facts: dict[str, Any], folder: Path) -> None:
    """Writes `README.md` and `results.json` into a model folder."""
    text = CARD.format(
        table=table(results), verdict=verdict(results), tuned=tuned(results), **facts
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
    measured = json.dumps({"facts": facts, "results": results}, indent=1)
    (folder / "results.json").write_text(measured + "\n", encoding="utf-8")
