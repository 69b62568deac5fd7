"""The former name of what peft4clip did: read everywhere, shown nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from fewtune.core.preprocess import POLICIES
from fewtune.core.protocol import Case
from fewtune.core.run_config import RunConfig
from fewtune.core.task import PromptSource
from fewtune.reports.reproduction import Experiment
from fewtune.reports.study_runs import Run
from fewtune.training.named_recipes import RECIPES, named_recipe


def test_the_former_name_leads_to_the_present_one() -> None:
    asked = RunConfig.of(dict.fromkeys(("prompts", "recipe", "preprocess"), "seed"))
    assert {asked.prompts, asked.recipe, asked.preprocess} == {"peft4clip"}
    assert "seed" not in (*get_args(PromptSource), *POLICIES)
    assert not (RECIPES / "seed.toml").exists()
    recipes = [named_recipe(name, "vpt-deep", "dtd") for name in ("seed", "peft4clip")]
    assert recipes[0] == recipes[1]


def test_files_and_records_of_old_are_read() -> None:
    assert Case(strategy="zero-shot", data="vtab/dtd", prompts="seed").prompts == "peft4clip"
    sweep = {"prompts": "seed", "expected": ["coop"]}
    assert Experiment.of(sweep, Path("a.toml")).prompts == "peft4clip"
    notes = ["subset: full", "prompts: seed"]
    assert Run(Path(), {"task": {"notes": notes}}).prompts == "peft4clip"
