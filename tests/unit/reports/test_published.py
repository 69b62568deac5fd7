"""Published scores: they are of what exists, stand beside ours, and differences are named."""

from __future__ import annotations

from statistics import mean
from typing import get_args

import pytest

from fewtune.core.discovery import plugins
from fewtune.core.errors import ConfigError
from fewtune.core.files import write_json
from fewtune.core.task import PromptSource
from fewtune.datasets.catalog import groups
from fewtune.protocols.few_shot import ELEVEN
from fewtune.reports import reproduction, study_tables
from fewtune.reports.published_scores import PublishedPlace, files, read, scores
from fewtune.reports.reproduction import Experiment, compare
from studies import Writer, study, texts

B16 = {"backbone": "ViT-B16"}
OURS = ["prompts: clip-lora"]


def test_published_scores_are_of_strategies_tasks_and_prompts_that_exist() -> None:
    for place, of in scores().items():
        assert place.strategy in plugins("strategies")
        assert place.tasks <= groups().keys()
        assert {score.prompts for score in of} <= set(get_args(PromptSource))
        assert all(0 < score.top1 < 1 for score in of)


@pytest.mark.parametrize("name", files())
def test_published_averages_are_those_of_their_scores(name: str) -> None:
    found = dict(read(name))
    for place, score in found.items():
        parts = [found.get(PublishedPlace(**{**vars(place), "tasks": frozenset((task,))}))
                 for task in place.tasks]  # fmt: skip
        known = [part.top1 for part in parts if part]
        if score.average and len(known) == len(parts):
            assert score.top1 == pytest.approx(mean(known), abs=0.0025 if score.band else 0.0006)


def test_published_scores_stand_beside_ours_and_differences_are_named(write: Writer) -> None:
    write.run("zero-shot", "fewshot-dtd", 0.436, notes=OURS, **B16)
    write.run("clip-lora", "fewshot-dtd", 0.60, notes=OURS, recipe=None, **B16)
    write.run("clip-lora", "fewshot-dtd", 0.59, notes=OURS, recipe=None, shots=2, **B16)
    four, two = (study_tables.accuracy(study(write.folder), shots) for shots in (4, 2))
    assert texts(four)["Zero-shot CLIP, published"] == ["43.6"]
    assert texts(four)["CLIP-LoRA, published"] == ["63.8"]
    assert texts(four)["CLIP-LoRA"] == ["60.0 ≠"]
    assert four.differences == (
        "CLIP-LoRA on fewshot-dtd with 4 shots: 60.0 here, 63.8 published.",
    )
    assert texts(two)["CLIP-LoRA, published"] == ["59.6 to 60.2"]  # a band: it was digitised
    assert not two.differences
    assert not study_tables.accuracy(study(write.folder), 4, tolerance=0.04).differences


def test_other_prompts_or_settings_are_not_compared(write: Writer) -> None:
    write.run("zero-shot", "fewshot-dtd", 0.436, notes=["prompts: coop"], **B16)
    options = {"rank": 8}
    write.run("clip-lora", "fewshot-dtd", 0.6, notes=OURS, recipe=None, options=options, **B16)
    rows = study_tables.accuracy(study(write.folder), 4).rows
    assert not any(row.published for row in rows)


def test_base_to_new_and_transfer_are_compared_from_what_was_measured_elsewhere(
    write: Writer,
) -> None:
    for task, new in (("fewshot-dtd", 0.59), ("fewshot-pets", 0.80)):
        folder = write.run("zero-shot", f"{task}-base", 0.9, notes=["prompts: coop"], **B16)
        write_json(folder / "elsewhere.json", {f"{task}-new": {"top1": new}})
    source = ELEVEN[0].replace("/", "-")
    folder = write.run("coop", source, 0.71, shots=16, recipe=None, notes=["prompts: coop"], **B16)
    write_json(folder / "elsewhere.json", {"fewshot-dtd": {"top1": 0.42}})
    found = {one.text(): one for one in compare([study(write.folder)])}
    dtd = found["Zero-shot CLIP, ViT-B16, fewshot-dtd, new"]
    assert (dtd.ours, dtd.agrees) == (0.59, True)
    assert not found["Zero-shot CLIP, ViT-B16, fewshot-pets, new"].agrees
    moved = found["CoOp, ViT-B16, fewshot-dtd, 16 shots, trained on fewshot-imagenet"]
    assert (moved.score.top1, moved.ours) == (pytest.approx(0.4192), 0.42)


def test_an_experiment_names_what_is_missing(write: Writer) -> None:
    write.run("zero-shot", "fewshot-dtd", 0.436, notes=OURS, **B16)
    values = {"title": "T", "expected": ["clip_lora"], "strategy": ["clip-lora"],
              "prompts": "clip-lora", "tolerance": 1.0}  # fmt: skip
    experiment = Experiment.of(values, write.folder)
    found = compare([study(write.folder)], experiment)
    assert len(found) == 12 + 3 * 12
    assert reproduction.summary(found, experiment.tolerance) == (
        "1 of 1 published scores are met within 1 points, averages within 0.25; "
        "47 more are expected and not measured here."
    )
    with pytest.raises(ConfigError, match="no published scores called 'clip_lore'"):
        Experiment.of({**values, "expected": ["clip_lore"]}, write.folder).places()
    with pytest.raises(ConfigError, match="neither what to expect nor"):
        Experiment.of({}, write.folder)


def test_a_sweep_file_may_group_its_tasks(write: Writer) -> None:
    experiment = Experiment.of({"groups": {"structured": ["count", "place"]}}, write.folder)
    assert experiment.groups == {"count": "structured", "place": "structured"}
    assert experiment.expected == ()
    with pytest.raises(ConfigError, match="groups must be lists"):
        Experiment.of({"groups": {"structured": "count"}}, write.folder)
