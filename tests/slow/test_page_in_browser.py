"""The page in a real browser: it fits a telephone, and follows light and dark."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fewtune.bench.page import write_page
from fewtune.engine.run import Job, run
from fewtune.engine.tracking import Tracker
from fewtune.strategies.clip_adapter import ClipAdapter
from fewtune.testing import tiny_clip_folder, tiny_task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROBE = """<script>addEventListener("load", () => {
  const page = document.documentElement;
  parent.document.documentElement.dataset.probe = JSON.stringify({
    inner: innerWidth, scroll: page.scrollWidth,
    images: document.images.length,
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    requests: performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")).length,
  });
});</script></body>"""
# Chromium's windows are at least 500 px wide; a frame can be as narrow as a telephone.
FRAME = """<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<iframe style="border: 0; width: {width_px}px; height: 800px" srcdoc="{page}"></iframe>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page whose policy lets a probe run; all else is as it is written."""
    folder = tmp_path_factory.mktemp("browser")
    task, backbone = tiny_task(), str(tiny_clip_folder(folder / "backbone"))
    job = Job(ClipAdapter(), task, backbone, shots=2, steps_scale=0.1, runs=folder / "runs")
    path = folder / "page.html"
    command = "fewtune fit --data A_FOLDER_WITH_A_LONG_NAME_OF_MY_OWN --shots 16"
    write_page(path, [run(job, Tracker())], "Title" * 20, command, task)
    text = path.read_text(encoding="utf-8")
    allowed = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    assert allowed != text
    path.write_text(allowed.replace("</body>", PROBE), encoding="utf-8")
    return path


def open_page(page: Path, profile: Path, width_px: int, scheme: str) -> dict[str, Any]:
    """Return what the probe found in Chromium."""
    frame = page.with_name(f"frame-{width_px}.html")
    text = html.escape(page.read_text(encoding="utf-8"))
    frame.write_text(FRAME.format(width_px=width_px, page=text), encoding="utf-8")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "apt-get install chromium"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", "--window-size=1400,900",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.mark.parametrize("width_px", [375, 1280])
def test_the_page_fits_the_window(page: Path, tmp_path: Path, width_px: int) -> None:
    found = open_page(page, tmp_path, width_px, "light")
    assert found["inner"] == width_px
    assert found["scroll"] <= width_px
    assert found["images"] == 4  # a picture, and a sample of each of three classes
    assert found["broken"] == 0
    assert found["requests"] == 0


def test_the_page_follows_light_and_dark(page: Path, tmp_path: Path) -> None:
    light, dark = (open_page(page, tmp_path / s, 1280, s) for s in ("light", "dark"))
    assert brightness(light["paper"]) > 200 > 100 > brightness(light["ink"])
    assert brightness(dark["paper"]) < 60 < 150 < brightness(dark["ink"])


def brightness(colour: str) -> float:
    """Return the mean of the channels of "rgb(r, g, b)"."""
    channels = [float(part) for part in re.findall(r"[\d.]+", colour)[:3]]
    return sum(channels) / 3
