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

import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import Field, NonNegativeInt

from fewtune.core.protocol import Case, Options, Protocol, Score, Scores, ScoreTable, Value, average
from fewtune.core.search_result import Search, Trial
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
    seeds: tuple[NonNegativeInt, ...] = Field(
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
            for case in (
                *(self._trial(strategy, data, cell) for cell in self.grid.get(strategy, ())),
                *self._final(known, strategy, data),
            )
        )

    def failures(self, scores: Iterable[Score] = ()) -> tuple[tuple[Case, str], ...]:
        """Return the final runs without searched values, and why they cannot be made, if so."""
        known = Scores(scores)
        found = ((s, d, self._search(known, s, d)) for s in self.strategies for d in self.data)
        return tuple(
            (case, search.failure)
            for strategy, data, search in found
            if search
            for case in self.over_seeds(strategy, data, subset="1000")
        )

    def tables(self, scores: Iterable[Score]) -> tuple[ScoreTable, ...]:
        """Return accuracies by task with the means of all and by group, and what was chosen."""
        known = Scores(scores)
        groups = [f"mean {group}" for group in self._groups()]
        columns = (*self.data, f"mean of {len(self.data)}", *groups, "mean of groups")
        row = partial(self._row, known)
        chosen = self._chosen_notes(known)
        return (self.table("", ", 1,000 training images", columns, row, chosen),)

    def _best(self, strategy: str, search: Search | None) -> Options | None:
        """Return the cell of the grid with the best validation score; None before all have one."""
        if search is None:
            return {}
        best = search.best
        return self._cells(strategy)[search.trials.index(best)] if best else None

    def _cells(self, strategy: str) -> Sequence[Options]:
        """Return the grid in the order that breaks ties."""
        cells = self.grid.get(strategy, ())
        return sorted(cells, key=lambda cell: (cell.get("lr", 0), cell.get("weight_decay", 0)))

    def _trial(self, strategy: str, data: str, cell: Options) -> Case:
        return Case(
            strategy=strategy,
            data=data,
            subset="800",
            split="val",
            prompts=self.prompts,
            backbone=self.backbone,
            seed=self.search_seed,
            options={**self.options_of(strategy, data), **cell},
        )

    def _search(self, known: Scores, strategy: str, data: str) -> Search | None:
        """Return the search of a strategy on a task; None without a grid."""
        cells = self._cells(strategy)
        if not cells:
            return None
        varied = [key for key in cells[0] if len({repr(cell.get(key)) for cell in cells}) > 1]
        trials = []
        for cell in cells:
            case = self._trial(strategy, data, cell)
            values = {key: cell[key] for key in varied if key in cell}
            trials.append(Trial(values=values, top1=known.top1(case), error=known.error(case)))
        return Search(
            method="grid",
            seed=self.search_seed,
            about={"protocol": self.name(), "subset": "800"},
            ties="the one with the smaller rate, then the smaller decay",
            trials=tuple(trials),
            planned=len(trials),
        )

    def _final(self, known: Scores, strategy: str, data: str) -> tuple[Case, ...]:
        search = self._search(known, strategy, data)
        best = self._best(strategy, search)
        if best is None:
            return ()
        chosen_by = search.record() if search else None
        return self.over_seeds(strategy, data, subset="1000", options=best, chosen_by=chosen_by)

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
        for strategy, data in itertools.product(self.strategies, self.data):
            best = self._best(strategy, self._search(known, strategy, data))
            if best and strategy != ZERO_SHOT:
                chosen = ", ".join(f"{k} {best[k]:g}" for k in ("lr", "weight_decay") if k in best)
                notes.append(f"{strategy} on {data}: {chosen}.")
        return tuple(notes)
