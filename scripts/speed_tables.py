"""The tables of docs/speed.md, drawn from what `python -m benchmarks` measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
TABLES = (
    "lora-step", "classes", "other-steps", "cached", "batched", "prediction", "start-up", "choices",
    "workers",
)  # fmt: skip
HEADER = ["what", "against", "FewTune", "the other", "ratio", "aim", ""]


def rows(name: str) -> list[list[str]]:
    """Return the cells of a table; none if it was not measured."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    return [_cells(row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def machines() -> list[list[str]]:
    """Return what the tables were measured on: fact and value."""
    found = sorted(
        {
            json.dumps([value["machine"], value["versions"]], sort_keys=True)
            for value in (json.loads(p.read_text(encoding="utf-8")) for p in RESULTS.glob("*.json"))
        }
    )
    cells = []
    for machine, versions in map(json.loads, found):
        has = [n for n in ("avx2", "avx512", "bf16", "amx") if machine[n]]
        lacks = [n for n in ("avx512", "bf16", "amx") if not machine[n]]
        cells += [
            ["processor", machine["processor"]],
            ["cores; threads used", f"{machine['cores']}; {machine['threads']}"],
            ["has; has not", f"{', '.join(has) or 'none'}; {', '.join(lacks) or 'none'}"],
            ["precision", f"**{machine['precision']}**"],
            ["memory", f"{machine['memory_gib']} GiB"],
            ["versions", ", ".join(f"{name} {version}" for name, version in versions.items())],
        ]
    return cells


def _cells(row: dict[str, Any]) -> list[str]:
    unit, note = row["unit"], row["note"]
    measured = f"{row['repeats']} turn{'s' if row['repeats'] > 1 else ''}"
    return [
        row["what"],
        row["against"],
        _amount(row["ours"], unit),
        "" if row["theirs"] is None else _amount(row["theirs"], unit),
        "" if row["ratio"] is None else f"**{_number(row['ratio'])}**",
        _aim(row),
        f"{measured}; {note}" if note else measured,
    ]


def _aim(row: dict[str, Any]) -> str:
    if row["bar"] is None:
        return ""
    value, unit = (row["ours"], row["unit"]) if row["ratio"] is None else (row["ratio"], "")
    met = value >= row["bar"] if row["sense"] == "at least" else value <= row["bar"]
    amount = _amount(row["bar"], unit) if unit else _number(row["bar"])
    return f"{row['sense']} {amount}: {'met' if met else 'missed'}"


def _amount(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    """Return three significant digits, or all digits of a large whole part."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
