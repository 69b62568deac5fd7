"""A run ready to be made: what it is asked for, its images, and its strategy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fewtune.core.draws import DEFAULT_DRAW, drawn_digest, few_shot
from fewtune.core.errors import ConfigError
from fewtune.core.preprocess import POLICIES, preprocessing
from fewtune.core.run_config import RunConfig, TrainingSettings
from fewtune.core.spec import ZERO_SHOT, Precision, Recipe, Spec, scores_what_is_drawn
from fewtune.core.task import Task
from fewtune.model.load_strategy import Load, load_strategy
from fewtune.model.strategy import Strategy
from fewtune.training.image_stamp import changed_content

if TYPE_CHECKING:
    from fewtune.training.run_folder import RunFolder

Record = dict[str, Any]
WriteCard = Callable[["RunFolder", Record, Record | None], None]


@dataclass(frozen=True)
class Result:
    """A complete run.

    Attributes:
        record: Contents of its record.json.
        zero_shot: Record of the zero-shot run it is compared with.
        fresh: Whether it was computed now; False when it was complete before.
        final: Folder of the final model, if one was asked for (`training.final`).
    """

    folder: Path
    record: Record
    zero_shot: Record
    fresh: bool
    final: Path | None = None


@dataclass(frozen=True)
class Job:
    """A run ready to be made.

    Attributes:
        config: What is asked for; `strategy`, `data` and `options` of it are made already.
        task: The images before few-shot draws, with a test split: the whole task, or a part of its
            classes or splits (`core.splits.part_of`).
        recipe: The strategy's recipe with all changes; None for its default.
        write_card: Writes a card for people into the folder of a run that was scored, given its
            record and that of zero-shot (`reports.model_card`); None leaves it out.
        chosen_by: The search that chose these values, for the record; it does not decide the run.
        measured: Of a final model, the run that was measured before (`training.final`).
    """

    config: RunConfig
    task: Task
    strategy: Strategy
    recipe: Recipe | None = None
    write_card: WriteCard | None = None
    chosen_by: Mapping[str, Any] | None = None
    measured: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        strategy: Strategy,
        task: Task,
        backbone: str,
        recipe: Recipe | None = None,
        *,
        write_card: WriteCard | None = None,
        chosen_by: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Self:
        """Return the run of a strategy and a task that are in memory.

        Args:
            settings: Fields of `RunConfig`.

        Raises:
            ConfigError: A setting is unknown or not valid.
        """
        asked = {"strategy": strategy.name(), "backbone": backbone, **settings}
        config = RunConfig.of(asked, unknown="A run has no field")
        return cls(config, task, strategy, recipe, write_card, chosen_by)

    def changed(self, **settings: Any) -> Self:
        """Return the same run with other values of its config.

        Raises:
            ConfigError: A value is not valid.
        """
        return replace(self, config=self.config.changed(**settings))

    def resolved_recipe(self) -> Recipe | None:
        """Return the recipe in force; None for a strategy that trains nothing."""
        default = self.strategy.recipe_for(self.config.shots or self.task.support().shots)
        return (self.recipe or default) if default else None

    def spec(self, revision: str, name: str, precision: Precision) -> Spec:
        """Return what the run is, given the backbone's revision and canonical name.

        Raises:
            ConfigError: There is no published list of these shots and this seed.
        """
        config = self.config
        settings = {field: getattr(config, field) for field in TrainingSettings.model_fields}
        if config.shots is None:
            settings["draw"] = DEFAULT_DRAW
        spec = Spec(
            **settings,
            strategy=self.strategy.name(),
            version=self.strategy.version,
            options=self.strategy.model_dump(mode="json", exclude_defaults=True),
            recipe=self.resolved_recipe(),
            task=self.task.name,
            data=self.task.fingerprint(),
            backbone=name,
            revision=revision,
            precision=precision,
            drawn=drawn_digest(self.task, config.shots, config.seed, config.draw),
            templates="all" if config.ensemble else "first",
            **preprocessing(config.preprocess, config.resize),
        )
        spec = spec if spec.recipe else spec.untrained()
        drawn = few_shot(self.task, spec.shots, spec.seed, spec.draw)
        learned = (*drawn.train, *drawn.val) if spec.recipe else ()
        content = changed_content(config.runs / spec.folder(), learned, drawn.test)
        return spec.model_copy(update={"content": content}) if content else spec

    def folder(self) -> Path:
        """Return the folder of the run, whether it is made or not.

        Raises:
            ConfigError: The backbone cannot be loaded.
        """
        return self.config.runs / self.known_spec().folder()

    def known_spec(self) -> Spec:
        """Return the spec without loading the backbone: its revision is read from its files.

        Raises:
            ConfigError: The backbone cannot be loaded.
        """
        from fewtune.training.device import choose_device, choose_precision

        device = choose_device(self.config.device)
        precision = choose_precision(device, self.config.precision)
        return self.spec(*_revision_and_name(self.config.backbone), precision)

    def loaded(self) -> Self:
        """Return the same run, its strategy able to compute where it was only declared."""
        kind = load_strategy(self.strategy.name())
        return replace(self, strategy=kind.model_validate(self.strategy.model_dump()))

    def baseline(self, load: Load = load_strategy) -> Self:
        """Return the zero-shot run that this one is compared with: same prompts, same pixels."""
        config = self.config
        if not scores_what_is_drawn(self.task.name, config.shots):
            config = config.model_copy(update={"shots": None})
        return replace(self, config=config, strategy=load(ZERO_SHOT)(), recipe=None, chosen_by=None)


@cache
def _revision_and_name(backbone: str) -> tuple[str, str]:
    """Return the revision and the canonical name of a backbone, read once by each process."""
    from fewtune.backbones.checkpoint import describe

    facts = describe(backbone)
    if facts.revision is None:
        raise ConfigError(f"Backbone {facts.name} cannot be loaded: {facts.status}")
    return facts.revision, facts.name


def config_of(spec: Spec) -> RunConfig:
    """Return a config from which a spec follows, but for its images, strategy and recipe."""
    wanted = {name: getattr(spec, name) for name in ("resize", "interpolation", "mean", "std")}
    policy, resize = next(
        (policy, resize)
        for policy in POLICIES
        for resize in (None, spec.resize)
        if dict.fromkeys(wanted) | preprocessing(policy, resize) == wanted
    )
    return RunConfig(
        **{name: getattr(spec, name) for name in TrainingSettings.model_fields},
        strategy=spec.strategy,
        backbone=spec.backbone,
        precision=spec.precision,
        ensemble=spec.templates == "all",
        preprocess=policy,
        resize=resize,
    )
