"""Pages in a real browser: what a reader of a telephone or a screen would see."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROBE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach(one => { one.open = true; });
  const page = document.documentElement;
  const size = one => { const box = one.getBoundingClientRect(); return [box.width, box.height]; };
  const colours = name => {
    const one = document.querySelector(name);
    return one ? getComputedStyle(one).color : null;
  };
  const isInked = image => {  // in the colour of text on a dark page
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    for (let i = 0; i < pixels.length; i += 4)
      if (pixels[i] === 230 && pixels[i + 1] === 230 && pixels[i + 3] === 255) return true;
    return false;
  };
  const found = parent.document.documentElement.dataset;
  const list = JSON.parse(found.probe || "[]");
  list.push({
    inner: innerWidth, scroll: page.scrollWidth,
    images: document.images.length,
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    figures: [...document.querySelectorAll("figure.plot img")].map(size),
    drawn: [...document.querySelectorAll("figure.plot img")].filter(isInked).length,
    boxes: [...document.querySelectorAll(".scroll")]
      .filter(box => box.scrollWidth > box.clientWidth).length,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    inks: ["td", "th", "td .best", ".soft", "figcaption", "nav a", ".note p"]
      .map(colours).filter(colour => colour),
    requests: performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")).length,
  });
  found.probe = JSON.stringify(list);
});</script></body>"""
# Chromium's windows are at least 500 px wide; a frame can be as narrow as a telephone.
FRAME = (
    """<iframe style="border: 0; width: {width_px}px; height: 800px" srcdoc="{page}"></iframe>"""
)
PAGE = """<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">"""
POLICY = "default-src 'none'"


def look_at(
    page: Path, folder: Path, widths_px: Sequence[int], scheme: str
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """Return what is found of a page by width of its window, and what the console says.

    Args:
        folder: An empty folder for the browser.
        scheme: "light" or "dark".
    """
    text = page.read_text(encoding="utf-8")
    assert POLICY in text
    # The policy lets the probe run; all else is as it is written.
    text = text.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'").replace("</body>", PROBE)
    frames = (FRAME.format(width_px=width, page=html.escape(text)) for width in widths_px)
    frame = folder / f"frame-{scheme}.html"
    frame.write_text(PAGE + "".join(frames), encoding="utf-8")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "apt-get install chromium"
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / scheme}", "--window-size=1800,900",
            "--enable-logging=stderr",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = {one["inner"]: one for one in json.loads(html.unescape(found[1]))}
    return seen, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours "rgb(r, g, b)": 1 to 21, as WCAG 2 defines it."""
    first, second = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def _luminance(colour: str) -> float:
    shares = [float(part) / 255 for part in re.findall(r"[\d.]+", colour)[:3]]
    linear = [s / 12.92 if s <= 0.03928 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(
        weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )
