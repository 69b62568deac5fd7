"""From a case of a sweep to a job: its flags are those of `fewtune fit`, and checked as such."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.cli.fit import options_given, strategy_command
from fewtune.cli.support.console import Console
from fewtune.cli.support.fit_run import DATA_FLAGS, open_part, prepare
from fewtune.cli.support.options import Command
from fewtune.cli.support.toml_files import as_defaults
from fewtune.core.errors import DataError
from fewtune.datasets import catalog
from fewtune.model.load_strategy import load_strategy

if TYPE_CHECKING:
    from fewtune.core.protocol import Case, Target
    from fewtune.core.task import Task
    from fewtune.model.strategy import Strategy
    from fewtune.sweeps.scheduler import PreparedCase

# What is of the dataset of training alone, and not of another that a model is scored on.
OF_ONE_DATA_SET = ("subset", "layout", "descriptions", "name")


class Jobs:
    """Makes the job of each case; images are opened and checked once.

    Args:
        where: What names the cases, for messages.
        shared: Flags of every run, by parameter name.
        cards: Whether each run gets a card and a picture.
    """

    def __init__(
        self, where: Path, shared: Mapping[str, Any], console: Console, *, cards: bool = False
    ) -> None:
        self.where = where
        self.shared = shared
        self.console = console
        self.cards = cards
        self._opened: dict[str, Task] = {}
        self._missing: dict[str, DataError] = {}

    def __call__(self, case: Case) -> PreparedCase:
        """Return the job of a case, and the data of its other targets.

        Raises:
            ConfigError: A flag is wrong.
            DataError: The images are not here, or cannot be used.
        """
        from fewtune.reports.model_card import write_card
        from fewtune.sweeps.scheduler import PreparedCase

        kind, values, options = self._flags(case)
        with self._once(values):
            job = prepare(kind, values, options, self.console, self._opened)
        targets, lacking = {}, []
        for target in case.elsewhere:
            try:
                targets[target] = self._target(target, case.data, values)
            except DataError as error:
                lacking.append(f"Not scored on {target.data}: {error}")
        job = replace(job, write_card=write_card if self.cards else None, chosen_by=case.chosen_by)
        return PreparedCase(job, targets, tuple(lacking))

    def steps(self, case: Case) -> int:
        """Return the steps of a case whose data are not here, by what is declared of them."""
        from fewtune.training.named_recipes import configure

        kind, values, options = self._flags(case)
        _, recipe = configure(kind.name(), options, case.shots)
        found = catalog.find(case.data)
        if recipe is None or found is None or found.name == catalog.SAMPLE:
            return 1
        dataset = catalog.load(found.name)
        every = int(case.subset) if case.subset in ("800", "1000") else dataset.sizes["train"]
        classes = len(dataset.classes) if case.classes == "all" else len(dataset.classes) // 2
        images = min(every, (case.shots or every) * classes)
        return recipe.total_steps(images, case.shots or 1, values["steps_scale"])

    def _flags(self, case: Case) -> tuple[type[Strategy], dict[str, Any], dict[str, Any]]:
        """Return the strategy, all flags, and the options of strategy and recipe that are given."""
        flags = case.flags()
        kind = load_strategy(str(flags.pop("strategy")))
        command = _command(kind.name())
        given = as_defaults(flags, self.where, command.params)
        context = command.make_context("sweep", [], default_map=given)
        values = located({**context.params, **self.shared})
        return kind, values, options_given(context, kind)

    def _target(self, target: Target, data: str, values: Mapping[str, Any]) -> Task:
        own = target.data == data
        changes = {} if own else dict.fromkeys(OF_ONE_DATA_SET) | {"shots": None}
        part = {"data": target.data, "classes": target.classes, "score_on": target.split}
        root = self.shared.get("root", values["root"])
        wanted = located({**values, "root": root, **changes, **part})
        with self._once(wanted):
            return open_part(wanted, self.console, self._opened)

    @contextmanager
    def _once(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Refuse data as they were refused before, without looking for them again."""
        key = repr([values[name] for name in (*DATA_FLAGS, "shots", "classes", "score_on")])
        if key in self._missing:
            raise self._missing[key]
        try:
            yield
        except DataError as error:
            self._missing[key] = error
            raise


def located(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return flags in which `--root`, that of datasets by name, does not concern one's own images.

    Raises:
        ConfigError: Two datasets go by the name.
    """
    named = values["root"] is not None and catalog.find(str(values["data"])) is not None
    return {**values, "root": values["root"] if named else None}


@cache
def _command(strategy: str) -> Command:
    return strategy_command(load_strategy(strategy))
