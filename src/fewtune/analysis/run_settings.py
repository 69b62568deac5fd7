"""Settings of runs, flat, and labels that tell runs apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fewtune.core.naming import brief, dashed
from fewtune.reports.summary import Record, shots_text, steps_scale, strategy_of

Value = str | int | float | bool | None


def settings(record: Record) -> dict[str, Value]:
    """Return every option and recipe field of a run, by the name of its flag."""
    spec = record["spec"]
    options = strategy_of(record).model_dump(mode="json")
    flat = {**(spec["recipe"] or {}), **options, "templates": spec["templates"]}
    return {dashed(name): value for name, value in flat.items()} | {
        "steps-scale": steps_scale(record)
    }


def labels(records: Sequence[Record]) -> list[str]:
    """Return what tells runs apart: the title, and in brackets what differs.

    Options are compared among the runs of one strategy; task, backbone, shots and seed among all.
    """
    places = [_place(record["spec"]) for record in records]
    options = [settings(record) for record in records]
    strategies = [record["spec"]["strategy"] for record in records]
    found = []
    for index, record in enumerate(records):
        siblings = [
            o for o, name in zip(options, strategies, strict=True) if name == strategies[index]
        ]
        words = [word for i, word in enumerate(places[index]) if len({p[i] for p in places}) > 1]
        words += [
            f"{name} {brief(value)}"
            for name, value in options[index].items()
            if any(other.get(name) != value for other in siblings)
        ]
        title = strategy_of(record).title
        found.append(f"{title} ({', '.join(words)})" if words else title)
    return found


def _place(spec: Mapping[str, Any]) -> tuple[str, ...]:
    return spec["task"], spec["backbone"], shots_text(spec["shots"]), f"seed {spec['seed']}"
