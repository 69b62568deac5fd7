"""Rows of a table, the machine they were measured on, and the file that holds both."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.harness import Settings
from fewtune.core.files import read_json, write_json

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("fewtune", "torch", "transformers", "peft")


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        what: What was measured.
        against: What it is compared with.
        ours: FewTune's figure, in `unit`.
        theirs: The other's; None where there is only a bar.
        unit: "s", "GiB" or "images/s".
        ratio: What the bar is about; None where it is about `ours`.
        bar: What was aimed at; None without an aim.
        sense: Whether the bar is a least or a greatest value.
        repeats: Measured turns of each.
        note: What a reader must know beside the figures.
    """

    what: str
    against: str
    ours: float
    theirs: float | None
    unit: Literal["s", "GiB", "images/s"]
    ratio: float | None
    bar: float | None
    sense: Literal["at least", "at most"]
    repeats: int
    note: str = ""


def write(name: str, title: str, rows: Sequence[Row], settings: Settings, folder: Path) -> None:
    """Write rows into `NAME.json`, over those that compare the same on this machine before."""
    path = folder / f"{name}.json"
    header = {"title": title, "machine": machine(settings), "versions": versions()}
    fresh = {_key(asdict(row)): {**asdict(row), "measured": _today()} for row in rows}
    old = read_json(path) if path.exists() else {}
    same = {key: old.get(key) for key in header} == header
    kept = [fresh.pop(_key(row), row) for row in old["rows"]] if same else []
    write_json(path, {**header, "rows": [*kept, *fresh.values()]})


def machine(settings: Settings) -> dict[str, Any]:
    """Return what decides about speed."""
    has = torch.cpu.get_capabilities()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": settings.threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "avx2": bool(has.get("avx2")),
        "avx512": bool(has.get("avx512_f")),
        "bf16": bool(has.get("avx512_bf16")),
        "amx": bool(has.get("amx_bf16")),
        "precision": settings.precision,
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of everything that computes."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _processor() -> str:
    """Return vendor, family and model: what a virtual machine calls its processor is no name."""
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor()
    lines = facts.read_text().split("\n\n")[0].splitlines()
    parts = [line.partition(":") for line in lines]
    fields = {name.strip(): value.strip() for name, _, value in parts}
    family, model = fields.get("cpu family", "?"), fields.get("model", "?")
    return f"{fields.get('model name', '?')}, family {family}, model {model}"


def _key(row: dict[str, Any]) -> str:
    return json.dumps([row["what"], row["against"], row["unit"]])


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
