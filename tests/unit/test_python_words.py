"""Python's functions name what their caller wrote: keywords in errors, runs by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fewtune
from fewtune import Classifier, FewTuneError
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.run import run
from fewtune.training.tracking import Tracker

GREY = [np.full((8, 8), value, np.uint8) for value in (0, 9)]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fewtune.RunConfig(shots=0), "^shots must be a whole number at least 1, found '0'"),
        (lambda: fewtune.RunConfig(shot=1), "^A run has no field 'shot'. Did you mean 'shots'"),
        (lambda: fewtune.RunConfig(time_budget_s="x"), "^time_budget_s must be a time"),
        (lambda: fewtune.fit("x", memory_mib=-1), "^memory_mib must be an amount"),
        (lambda: fewtune.fit("x", seed=[1, 2]), "a run for each: `fewtune fit --seed VALUE`"),
        (lambda: fewtune.fit("x", epochs=1, steps=1), "one of epochs, steps and length"),
        (lambda: Classifier(steps_scale=0).fit(GREY, "ab"), "^steps_scale must"),
        (lambda: fewtune.predict("no-such-run", ["x"]), "There is no run 'no-such-run'"),
        (lambda: Classifier.load("no-such-run"), "There is no run 'no-such-run'"),
    ],
)
def test_errors_name_keywords_not_flags(
    call: Callable[[], object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    with pytest.raises(FewTuneError, match=said) as caught:
        call()
    assert "--" not in str(caught.value).replace("`fewtune fit --seed VALUE`", "")


def test_functions_take_a_run_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = str(tiny_clip_folder(tmp_path / "clip", blocks=2))
    job = Job.of(ZeroShot(), tiny_task(), backbone, None, runs=tmp_path / "runs")
    folder = run(job, Tracker()).folder
    monkeypatch.chdir(tmp_path)
    arrays = [example.source.read() for example in tiny_task().test]  # type: ignore[union-attr]
    for name in (folder.name, folder.name.rpartition("-")[2]):
        assert len(fewtune.predict(name, arrays[:2])) == 2
        assert fewtune.evaluate(name, tiny_task()).metrics
        assert Classifier.load(name).predict(arrays[:2]).shape == (2,)
