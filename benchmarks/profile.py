"""Where the time of a step goes: seconds by kind of operation, as a file and as a picture."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.floor import matrix_rate
from benchmarks.harness import Contender, Settings
from benchmarks.ours import arithmetic
from benchmarks.result import RESULTS, machine, versions
from fewtune.core.files import write_json

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "step.png"
# The first kind whose words are part of an operation's name.
KINDS = {
    "matrix products": ("addmm", "aten::mm", "convolution"),
    "attention": ("scaled_dot_product", "bmm", "matmul", "softmax", "tril", "triu", "masked"),
    "layer norms": ("layer_norm",),
    "dropout": ("dropout", "bernoulli", "random", "clamp", "rand"),
    "copies and conversions": ("copy", "clone", "cat", "contiguous", "aten::to", "empty", "zero"),
    "sums, products, activations": ("add", "mul", "sigmoid", "div", "sub", "neg", "rsub", "sum"),
}
REST = "everything else"
COLOURS = ("#264b73", "#4c72b0", "#8fb0d9", "#c44e52", "#b0a58f", "#dd9f5f", "#d9d9d9")


def draw(settings: Settings) -> None:
    """Profile a step of PEFT and of FewTune; write `profile.json` and the picture."""
    size, classes, batch = ("tiny", 4, 2) if settings.quick else ("ViT-B16", 100, 8)
    shared = {"size": size, "classes": classes, "batch": batch, "precision": settings.precision}
    ours: dict[str, Any] = {"strategy": "clip-lora", **shared}
    peft = {**shared, "dropout": 0.25}
    torch.set_num_threads(settings.threads)
    contenders = [
        Contender(
            "B: PEFT, longest prompt", "benchmarks.peers:lora_with_peft", {**peft, "length": None}
        ),
        Contender("FewTune", "benchmarks.ours:step", ours),
    ]
    bars = {contender.name: profile(contender) for contender in contenders}
    value = {
        "machine": machine(settings),
        "versions": versions(),
        "floor_s": arithmetic(**ours) / matrix_rate(settings),
        "seconds": bars,
    }
    if settings.quick:
        return
    write_json(RESULTS / "profile.json", value)
    picture(value, PICTURE)
    print(PICTURE)


def profile(contender: Contender) -> dict[str, float]:
    """Return the seconds of a warmed-up step by kind of operation."""
    step = contender.load()(**contender.arguments)
    step()
    seconds: dict[str, float] = defaultdict(float)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        started = time.perf_counter()
        step()
        total = time.perf_counter() - started
    for event in found.key_averages():
        kind = next((k for k, words in KINDS.items() if any(w in event.key for w in words)), REST)
        seconds[kind] += event.self_cpu_time_total / 1e6
    seconds[REST] += total - sum(seconds.values())
    return {kind: round(seconds[kind], 3) for kind in (*KINDS, REST)}


def picture(value: dict[str, Any], path: Path) -> None:
    """Draw a bar for each contender, its kinds side by side, and the floor as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 2.9), layout="constrained")
    names = list(value["seconds"])
    left = dict.fromkeys(names, 0.0)
    for kind, colour in zip((*KINDS, REST), COLOURS, strict=True):
        widths = [max(0.0, value["seconds"][name][kind]) for name in names]
        axes.barh(names, widths, 0.62, list(left.values()), color=colour, label=kind)
        left = {name: left[name] + width for name, width in zip(names, widths, strict=True)}
    for name, total in left.items():
        axes.text(total, name, f"  {total:.1f} s", va="center", fontsize=9)
    floor_s = value["floor_s"]
    axes.axvline(floor_s, color="black", linewidth=1, linestyle=":")
    axes.text(floor_s, -0.55, f" floor {floor_s:.1f} s", fontsize=8, va="center")
    axes.set_ylim(len(names) - 0.5, -0.75)
    axes.set_xlim(0, 1.1 * max(left.values()))
    axes.set_xlabel("seconds of a step, " + value["machine"]["precision"])
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Software": ""})
    pyplot.close(figure)
