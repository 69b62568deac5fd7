"""Jobs of the cases of a sweep: a case and what all runs share validate into one config."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fewtune.core.errors import DataError
from fewtune.core.protocol import Case, Target
from fewtune.core.run_config import RunConfig
from fewtune.core.task import Task
from fewtune.core.toml import named_in
from fewtune.datasets import catalog
from fewtune.datasets.samples import SAMPLES
from fewtune.model.load_strategy import declared_strategy
from fewtune.sweeps.scheduler import PreparedCase
from fewtune.training.named_recipes import configure
from fewtune.training.prepare import Preparation

# What belongs to the dataset of training alone, not to another that a model is scored on.
OF_TRAINING_DATA = ("subset", "layout", "test_share", "descriptions", "name", "shots")


class CaseJobs:
    """Makes the job of each case; images are opened and checked once.

    Args:
        where: What names the cases, for messages ("grid.toml"); "" for none.
        shared: Values of every run, by field of `RunConfig`; they count more than a case's.
    """

    def __init__(
        self, where: str, shared: Mapping[str, Any], preparation: Preparation | None = None
    ) -> None:
        self.where = where
        self.shared = shared
        self.preparation = preparation or Preparation()
        self._missing: dict[str, DataError] = {}

    def __call__(self, case: Case) -> PreparedCase:
        """Return the job of a case, and the data of its other targets.

        Raises:
            ConfigError: A value is wrong.
            DataError: The images are not here, or cannot be used.
        """
        config = self.config(case)
        with self._once(config):
            job = self.preparation.job(config, chosen_by=case.chosen_by)
        targets: dict[Target, Task] = {}
        missing = []
        for target in case.elsewhere:
            try:
                targets[target] = self._target(target, case.data, config)
            except DataError as error:
                missing.append(f"Not scored on {target.data}: {error}")
        return PreparedCase(job, targets, tuple(missing))

    def config(self, case: Case) -> RunConfig:
        """Return what a case asks for; ConfigError if a value is not valid."""
        unknown = f"{self.where} has the unknown key" if self.where else ""
        with named_in(self.where, unknown):
            config = RunConfig.of({**case.settings(), **self.shared})
            configure(
                config.strategy, config.named_options(), unknown=unknown, load=declared_strategy
            )
        return located(config)

    def steps(self, case: Case) -> int:
        """Return the steps of a case whose data are not here, by what is declared of them."""
        config = self.config(case)
        _, recipe = configure(
            config.strategy, config.named_options(), case.shots, load=declared_strategy
        )
        found = catalog.find(case.data)
        if recipe is None or found is None or found.name in SAMPLES:
            return 1
        dataset = catalog.load(found.name)
        every = int(case.subset) if case.subset in ("800", "1000") else dataset.sizes["train"]
        classes = len(dataset.classes) if case.classes == "all" else len(dataset.classes) // 2
        images = min(every, (case.shots or every) * classes)
        return recipe.total_steps(images, case.shots or 1, config.steps_scale)

    def _target(self, target: Target, data: str, config: RunConfig) -> Task:
        own = target.data == data
        defaults = {} if own else {name: None for name in OF_TRAINING_DATA}
        root = self.shared.get("root", config.root)
        wanted = located(
            config.model_copy(
                update={
                    **defaults,
                    "root": root,
                    "data": target.data,
                    "classes": target.classes,
                    "score_on": target.split,
                }
            )
        )
        with self._once(wanted):
            return self.preparation.task(wanted)

    @contextmanager
    def _once(self, config: RunConfig) -> Iterator[None]:
        """Refuse data as they were refused before, without looking for them again."""
        key = self.preparation.key(config)
        if key in self._missing:
            raise self._missing[key]
        try:
            yield
        except DataError as error:
            self._missing[key] = error
            raise


def located(config: RunConfig) -> RunConfig:
    """Return a config in which `root`, that of datasets by name, is not used for own images."""
    named = config.root is not None and catalog.find(config.data) is not None
    return config if named else config.model_copy(update={"root": None})
