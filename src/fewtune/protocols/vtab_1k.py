"""VTAB-1k: nineteen tasks of 1,000 training images; a search on 800 and 200, then five seeds.

Zhai et al., "A Large-scale Study of Representation Learning with the Visual Task Adaptation
Benchmark", 2019, in the procedure of Jia et al., "Visual Prompt Tuning", ECCV 2022, and its code: a
grid is trained on 800 images and scored on the other 200 at its last step (ties: the smaller rate,
then the smaller decay); the best is trained on all 1,000 with seeds 42, 44, 82, 100 and 800.

The grid of the VPT strategies is that of VPT's code: ten rates, times batch / 256, by four decays,
SGD, 100 epochs with 10 of warm-up, squashed images without augmentation. Differs from it: pixels
are normalised as the backbone says, not as for ImageNet. Strategies without a grid are trained by
their own recipe, without a search. The papers' average is that of 19 tasks; the mean of the three
groups' means is a column, too, since groups differ in size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from fewtune.core.protocol import Case, Options, Protocol, Score, Scores, Table, Value, average
from fewtune.core.spec import ZERO_SHOT

GROUPS: dict[str, tuple[str, ...]] = {
    "natural": (
        "vtab/cifar100",
        "vtab/caltech101",
        "vtab/dtd",
        "vtab/flowers102",
        "vtab/pets",
        "vtab/svhn",
        "vtab/sun397",
    ),
    "specialised": ("vtab/pcam", "vtab/eurosat", "vtab/resisc45", "vtab/retinopathy"),
    "structured": (
        "vtab/clevr-count",
        "vtab/clevr-distance",
        "vtab/dmlab",
        "vtab/kitti",
        "vtab/dsprites-location",
        "vtab/dsprites-orientation",
        "vtab/smallnorb-azimuth",
        "vtab/smallnorb-elevation",
    ),
}
BATCH = 64
RATES = (50, 25, 10, 5, 2.5, 1, 0.5, 0.25, 0.1, 0.05)
DECAYS = (0.01, 0.001, 0.0001, 0)
VPT_RECIPE: Mapping[str, Any] = {
    "batch_size": BATCH,
    "optimizer": "sgd",
    "momentum": 0.9,
    "schedule": "cosine",
    "schedule_unit": "epoch",
    "warmup": 10,
    "length": 100,
    "length_unit": "epochs",
    "crop_scale": "none",
    "flip": False,
    "resize": "squash",
}


def vpt_grid() -> tuple[Options, ...]:
    """Return the forty cells of VPT's search."""
    return tuple(
        {**VPT_RECIPE, "lr": rate * BATCH / 256, "weight_decay": decay}
        for rate, decay in itertools.product(RATES, DECAYS)
    )


class Vtab1k(Protocol):
    """Accuracy on nineteen tasks from 1,000 images each, by group."""

    title = "VTAB-1k"
    paper = "zhai2019visual"

    data: tuple[str, ...] = Field(
        tuple(itertools.chain(*GROUPS.values())), min_length=1, description="tasks"
    )
    seeds: tuple[int, ...] = Field(
        (42, 44, 82, 100, 800), min_length=1, description="a final run for each"
    )
    search_seed: int = Field(0, ge=0, description="seed of the search, which VPT does not fix")
    grid: dict[str, tuple[Options, ...]] = Field(
        default_factory=lambda: {name: vpt_grid() for name in ("vpt-shallow", "vpt-deep")}
    )

    def cases(self, scores: Iterable[Score] = ()) -> tuple[Case, ...]:
        """Return the search, and the final runs of what has been searched."""
        known = Scores(scores)
        return tuple(
            case
            for data in self.data
            for strategy in self.strategies
            for case in (*self._search(strategy, data), *self._final(known, strategy, data))
        )

    def tables(self, scores: Iterable[Score]) -> tuple[Table, ...]:
        """Return accuracies by task with the means of all and by group, and what was chosen."""
        known = Scores(scores)
        rows = self.rows(lambda strategy: self._row(known, strategy))
        groups = [f"mean {group}" for group in self._groups()]
        table = Table(
            name=self.name(),
            title=f"{self.title}, 1,000 training images",
            columns=(*self.data, f"mean of {len(self.data)}", *groups, "mean of groups"),
            rows=rows,
            notes=(*self.notes(rows), *self._chosen_notes(known)),
        )
        return (table,)

    def best(self, scores: Iterable[Score], strategy: str, data: str) -> Options | None:
        """Return the cell of the grid with the best validation score; None before all have one."""
        return self._best(Scores(scores), strategy, data)

    def _best(self, known: Scores, strategy: str, data: str) -> Options | None:
        cases = self._search(strategy, data)
        if not cases:
            return {}
        found = [known.top1(case) for case in cases]
        if None in found:
            return None

        def rank(cell: tuple[Options, float | None]) -> tuple[float, float, float]:
            options, top1 = cell
            return -(top1 or 0), options.get("lr", 0), options.get("weight_decay", 0)

        return min(zip(self.grid[strategy], found, strict=True), key=rank)[0]

    def _search(self, strategy: str, data: str) -> tuple[Case, ...]:
        shared = {"prompts": self.prompts, "backbone": self.backbone, "seed": self.search_seed}
        return tuple(
            Case(
                strategy=strategy,
                data=data,
                subset="800",
                split="val",
                options={**self.options_of(strategy, data), **cell},
                **shared,
            )
            for cell in self.grid.get(strategy, ())
        )

    def _final(self, known: Scores, strategy: str, data: str) -> tuple[Case, ...]:
        best = self._best(known, strategy, data)
        if best is None:
            return ()
        return self.over_seeds(
            strategy, data, subset="1000", options=best, chosen_by=self._search_of(strategy)
        )

    def _search_of(self, strategy: str) -> dict[str, Any] | None:
        """Return what the record says of the search behind a final run."""
        if strategy not in self.grid:
            return None
        return {
            "protocol": self.name(),
            "cells": len(self.grid[strategy]),
            "seed": self.search_seed,
            "train": "800 images",
            "scored_on": "200 validation images",
        }

    def _groups(self) -> dict[str, list[int]]:
        """Return the columns of each group that has a task here."""
        places = {
            group: [i for i, data in enumerate(self.data) if data in tasks]
            for group, tasks in GROUPS.items()
        }
        return {group: found for group, found in places.items() if found}

    def _row(self, known: Scores, strategy: str) -> Sequence[Value | None]:
        values = [known.value(self._final(known, strategy, data)) for data in self.data]
        groups = [average(values[i] for i in places) for places in self._groups().values()]
        return [*values, average(values), *groups, average(groups)]

    def _chosen_notes(self, known: Scores) -> tuple[str, ...]:
        notes = []
        for strategy in self.strategies:
            if strategy == ZERO_SHOT or strategy not in self.grid:
                continue
            for data in self.data:
                best = self._best(known, strategy, data)
                if best:
                    chosen = ", ".join(
                        f"{k} {best[k]:g}" for k in ("lr", "weight_decay") if k in best
                    )
                    notes.append(f"{strategy} on {data}: {chosen}.")
        return tuple(notes)
