"""The page and the report in a real browser: they fit a telephone, and follow light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import contrast, look_at

from fewtune.core.files import write_text
from fewtune.reports import comparison_page
from fewtune.reports.model_card import write_card
from fewtune.reports.study_report import write_report
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.run import Job, run
from fewtune.training.tracking import Tracker
from studies import Writer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PHONE_PX, SCREEN_PX = 375, 1280
LEGIBLE = 4.5


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    task, backbone = tiny_task(), str(tiny_clip_folder(folder / "backbone"))
    job = Job.of(
        ClipAdapter(),
        task,
        backbone,
        shots=2,
        steps_scale=0.1,
        runs=folder / "runs",
        write_card=write_card,
    )
    path = folder / "page.html"
    command = "fewtune fit --data A_FOLDER_WITH_A_LONG_NAME_OF_MY_OWN --shots 16"
    text = comparison_page.page([run(job, Tracker())], "Title" * 20, command, task)
    write_text(path, text)
    return path


def test_the_page_fits_the_window_and_follows_light_and_dark(page: Path, tmp_path: Path) -> None:
    light, said = look_at(page, tmp_path, (PHONE_PX, SCREEN_PX), "light")
    dark, _ = look_at(page, tmp_path, (SCREEN_PX,), "dark")
    assert not said
    for width, found in light.items():
        assert found["scroll"] <= width
        assert found["images"] == 4  # a picture, and a sample of each of three classes
        assert found["broken"] == 0
        assert found["requests"] == 0
    for found in (light[SCREEN_PX], dark[SCREEN_PX]):
        assert contrast(found["ink"], found["paper"]) > 2 * LEGIBLE
    assert contrast(light[SCREEN_PX]["paper"], dark[SCREEN_PX]["paper"]) > 2 * LEGIBLE


def test_the_report_is_usable_on_a_telephone_and_in_the_dark(tmp_path: Path) -> None:
    write = Writer(tmp_path / "runs")
    tasks = ("fewshot-dtd", "flowers-of-a-long-name", "spheres")
    for task in tasks:
        pairs = [(0, 1), (1, 1)]
        write.run("zero-shot", task, 0.3, notes=["prompts: clip-lora"], predictions=pairs,
                  backbone="ViT-B16")  # fmt: skip
        for shots in (1, 4):
            for strategy in ("linear-probe", "clip-adapter", "clip-lora", "vpt-deep"):
                write.run(strategy, task, 0.5, shots=shots, predictions=pairs, backbone="ViT-B16")
    hostile = '<script>console.error("run")</script><image href="https://example.com/x.png"/>'
    write_text(
        write.folder / "analysis/hostile.svg",
        f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="100">{hostile}</svg>',
    )
    report = write_report([write.folder], tmp_path / "out", {"spheres": "structured"})
    seen, said = look_at(report, tmp_path, (PHONE_PX, SCREEN_PX), "dark")
    assert not said
    for width, found in seen.items():
        assert found["scroll"] <= width
        assert found["requests"] == found["broken"] == 0
        # Curves, gains and cost, recalls and confusions of each task, and that of another.
        assert len(found["figures"]) == 3 + 2 * len(tasks) + 1
        assert found["drawn"] == 3 + 2 * len(tasks)
        assert all(wide > 200 and high > 60 for wide, high in found["figures"])
        assert len(found["inks"]) == 7
        assert min(contrast(ink, found["paper"]) for ink in found["inks"]) > LEGIBLE
    assert seen[PHONE_PX]["boxes"] > 0  # wide tables and figures scroll in boxes of their own
