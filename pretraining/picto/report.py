"""Scores a model folder on everything held out and writes its card; earlier results are kept."""

import json
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from pretraining.picto.card import Results, write_card
from pretraining.picto.evaluate import Encoder, digits, fashion, nouns, retrieval
from pretraining.picto.export import reload
from pretraining.picto.heldout import HELDOUT_PACK, NOUNS, TRAIN_PACK
from pretraining.picto.network import build
from pretraining.picto.pack import read_pack
from pretraining.picto.pictures import Pictures
from pretraining.picto.sources import Sources
from pretraining.picto.tuned import tune

UNSAID = "see pretraining/picto/README.md"


def _held_out(coders: dict[str, Encoder], work: Path) -> Results:
    pack = read_pack(work / HELDOUT_PACK)
    pictures = Pictures.of(pack)
    found = {name: retrieval(coder, pack, pictures) for name, coder in coders.items()}
    named = {name: nouns(coder, pack, pictures) for name, coder in coders.items()}
    chance = {"image_to_text": 0.1, "text_to_image": 0.1}
    return {
        "held_out": {**found, "chance": chance},
        "nouns": {**named, "chance": {"zero_shot": 100 / len(NOUNS)}},
    }


def _facts(
    folder: Path, work: Path, coder: Encoder, words: dict[str, str | None]
) -> dict[str, Any]:
    path = folder / "results.json"
    known = json.loads(path.read_text(encoding="utf-8"))["facts"] if path.exists() else {}
    pack = read_pack(work / TRAIN_PACK)
    counted = sum(parameter.numel() for parameter in coder.model.parameters())
    facts = {
        "parameters": f"{counted / 1e6:.1f} million",
        "pictures": len(pack),
        "sets": len(set(pack.set_of.tolist())),
        "phrases": len(pack.phrases),
    }
    said = {key: words.get(key) or known.get(key, UNSAID) for key in ("training", "hardware")}
    return {**facts, **said}


def evaluate(
    folder: Path,
    work: Path,
    with_digits: bool,
    tuned_scale: float,
    words: dict[str, str | None],
) -> Results:
    """Scores `folder`, prints the table's source, and writes `README.md` and `results.json` there.

    `tuned_scale` is the share of the recipes' steps that FewTune tunes it for, 0 for not at all;
    `words` describe `training` and `hardware`; what an earlier call said or measured is kept.
    """
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    model = reload(folder)
    coders = {
        "picto": Encoder(model.eval(), tokenizer),
        "random weights": Encoder(build(0, model.config).eval(), tokenizer),
    }
    both = coders["picto"], coders["random weights"]
    path = folder / "results.json"
    results: Results = (
        json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    )
    fashion_folder = Sources(work).fashion_mnist
    results |= _held_out(coders, work)
    tenth = {"chance": {"zero_shot": 10.0, "4_shot": 10.0, "16_shot": 10.0, "100_shot": 10.0}}
    results["fashion"] = {**fashion(*both, fashion_folder), **tenth}
    if with_digits:
        results["digits"] = {**digits(*both), **tenth}
    if tuned_scale:
        results["tuned"] = tune(fashion_folder, folder, work, tuned_scale)
    print(json.dumps(results, indent=1))
    write_card(results, _facts(folder, work, coders["picto"], words), folder)
    return results
