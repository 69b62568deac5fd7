"""From what is asked for to a job: images opened and checked, strategy and recipe made."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fewtune.backbones.model_names import PHOTO, PICTO
from fewtune.backbones.model_names import resolve as resolve_backbone
from fewtune.core.draws import DEFAULT_DRAW, few_shot
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.run_config import DataChoice, RunConfig
from fewtune.core.splits import part_of, with_test_split
from fewtune.core.task import Task
from fewtune.data.decode import open_image
from fewtune.data.findings import DataReport
from fewtune.data.layouts import hint_for_one_class
from fewtune.data.verify import DataListener, repair, verify
from fewtune.datasets import catalog
from fewtune.model.load_strategy import Load, declared_strategy, load_strategy
from fewtune.training.job import Job, WriteCard
from fewtune.training.named_recipes import configure, named_recipe

PAPER = "paper"
PART = ("classes", "score_on")
# A photograph has at least this many pixels per side and more than so many colours.
PHOTO_SIDE_PX = 200
PHOTO_COLOURS = 5000
PHOTO_SAMPLE = 9


class Preparation:
    """Opens the images of runs and checks them, each once, and makes jobs.

    Args:
        listener: Told what is found about images.
        write_card: As of `Job`.
    """

    def __init__(
        self, listener: DataListener | None = None, write_card: WriteCard | None = None
    ) -> None:
        self.listener = listener or DataListener()
        self.write_card = write_card
        self._opened: dict[str, Task] = {}

    def job(
        self,
        config: RunConfig,
        task: Task | None = None,
        chosen_by: Mapping[str, Any] | None = None,
        measured: Mapping[str, Any] | None = None,
        load: Load = load_strategy,
    ) -> Job:
        """Return the job of a config.

        Args:
            task: Images that are in memory, in the place of those that `config.data` names.
            chosen_by, measured: As of `Job`.
            load: As of `configure`.

        Raises:
            ConfigError: A value is wrong, or the images do not fit what is asked for.
            DataError: The images cannot be used.
        """
        kind = declared_strategy(config.strategy)
        self._refuse(config, given=task is not None)
        part = config.classes, config.score_on
        if task is None:
            task = self.task(config)
        else:
            task.require_two_classes()
            if config.test_share is not None:
                task = with_test_split(task, config.test_share)
            task = part_of(task, *part)
        if kind.recipe is not None and not task.train:
            raise ConfigError(
                f"{task.name} has no training images.",
                hint=f"Train on others, then: fewtune evaluate RUN --data {task.name}",
            )
        options = config.named_options()
        if config.recipe.lower() != PAPER:
            options = named_recipe(config.recipe, kind.name(), task.name) | options
        shots = config.shots or task.support().shots
        strategy, recipe = configure(kind.name(), options, shots, load=load)
        return Job(config, task, strategy, recipe, self.write_card, chosen_by, measured)

    @staticmethod
    def _refuse(config: RunConfig, *, given: bool) -> None:
        """Refuse what is wrong whatever the images are, before any is opened.

        Args:
            given: Whether the images are in memory.
        """
        options = config.named_options()
        if not (given or config.data):
            raise ConfigError(
                "No images were given.",
                hint="Add --data DIR, a folder with a folder of images for each class.",
            )
        if config.draw != DEFAULT_DRAW and config.shots is None:
            raise ConfigError(
                f"--draw {config.draw} says how shots are drawn, but there are no --shots.",
                hint="Add --shots 16.",
            )
        configure(config.strategy, options, load=declared_strategy)
        resolve_backbone(config.backbone)
        if config.device not in ("auto", "cpu"):
            from fewtune.training.device import choose_device

            choose_device(config.device)

    def task(self, config: RunConfig) -> Task:
        """Return the images that a config asks for, checked.

        Raises:
            ConfigError: A value is wrong.
            DataError: The images cannot be used.
        """
        part = config.classes, config.score_on
        whole = self.key(config)
        if whole not in self._opened:
            task = open_task_of(config)
            if config.draw == "published":  # its lists may be missing
                few_shot(task, config.shots, config.seed, config.draw)
            found = repr((task.name, task.fingerprint(), task.notes))
            if found not in self._opened:
                self._opened[found] = self._checked(task, config)
            self._opened[whole] = self._opened[found]
        key = f"{whole} {part}"
        if key not in self._opened:
            self._opened[key] = part_of(self._opened[whole], *part)
        return self._opened[key]

    def _checked(self, task: Task, config: RunConfig) -> Task:
        task.require_two_classes(hint_for_one_class(config.data))
        if task.benchmark:
            if config.test_share is not None:
                with_test_split(task, config.test_share)
            self.listener.opened(task)
        else:
            report = self.check(task, config.shots)
            task = self._usable(task, report, config.test_share)
        if resolve_backbone(config.backbone).name == PICTO and looks_like_photographs(task):
            self.listener.warn(
                f"{PICTO} is a pictogram model and these images look like photographs. For those "
                f"use --backbone ViT-B16, or {PHOTO} without network."
            )
        return task

    @staticmethod
    def key(config: RunConfig) -> str:
        """Return what is equal for configs that open the same images, in whatever part."""
        choice = config.model_dump_json(include=set(DataChoice.model_fields) - {*PART})
        # With shots or without makes a difference for VTAB's tasks alone.
        return f"{choice} {config.shots is not None}"

    def check(self, task: Task, shots: int | None) -> DataReport:
        """Decode every image once and return what was found."""
        with self.listener.checking(sum(map(len, task.splits().values()))) as progress:
            report = verify(task, shots, progress=progress)
        self.listener.opened(task)
        self.listener.checked(report)
        return report

    def _usable(self, task: Task, report: DataReport, test_share: float | None) -> Task:
        """Return the task repaired and with a test split, and say what was done to it."""
        known = set(task.notes)
        task = repair(task, report)
        task = repair(with_test_split(task, test_share), report)
        for note in task.notes:
            if note not in known:
                self.listener.note(note)
        self.listener.usable(task)
        return task


def open_task_of(config: RunConfig) -> Task:
    """Return the whole task that a config names; no image is opened.

    Raises:
        ConfigError: There is no such dataset, or a choice does not fit it.
        DataError: The images cannot be found or read.
    """
    name = config.name
    if name and not all(c.isalnum() or c in "-_." for c in name.strip(".") or "/"):
        raise ConfigError(
            f"--name {name!r} cannot be part of a folder's name.",
            hint="Use letters, digits, '-', '_' and '.'.",
        )
    task = catalog.resolve(
        config.data,
        root=config.root,
        prompts=config.prompts,
        subset=config.subset,
        layout=config.layout,
        templates=list(config.template) or None,
        descriptions=config.descriptions,
        few_shot=config.shots is not None,
    )
    return replace(task, name=name) if name else task


def looks_like_photographs(task: Task) -> bool:
    """Return whether most of a few training images are large and rich in colour."""
    sample = task.train[:: max(1, len(task.train) // PHOTO_SAMPLE)][:PHOTO_SAMPLE]
    photographs = 0
    for example in sample:
        try:
            image = open_image(example.source)
        except DataError:
            continue
        large = min(image.size) > PHOTO_SIDE_PX
        photographs += large and image.getcolors(PHOTO_COLOURS) is None
    return 2 * photographs > len(sample)
