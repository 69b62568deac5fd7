"""What a run is asked for, and the zero-shot run that it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fewtune.core.draws import DEFAULT_DRAW, Draw, drawn_digest
from fewtune.core.preprocess import Channels, Interpolation, ResizePolicy
from fewtune.core.spec import Precision, Recipe, Spec, Templates
from fewtune.core.task import Task
from fewtune.model.strategy import Strategy
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.training.checkpoints import INTERVAL_S
from fewtune.training.run_folder import RunFolder


@dataclass(frozen=True)
class Job:
    """What a run is asked for.

    Attributes:
        task: The task before few-shot draws, with a test split: the whole one, or a part of its
            classes or splits (`core.task.part_of`).
        recipe: The strategy's recipe with all overrides; None for its default.
        shots: Training images per class; None for all.
        draw: How the shots are drawn.
        precision: None chooses by device.
        threads: CPU threads; None for as many as torch uses.
        memory_mib: Most that the process may hold; None for what is free.
        cache: Keep what frozen stages compute; without it, all images are streamed.
        cache_dir: Where that is shared with other runs; None for the folder that all share.
        write_card: Writes a card for people into the folder of a run that was scored, given its
            record and that of zero-shot (`reports.model_card`); None leaves it out.
        runs: The folder that holds run folders.
        chosen_by: The search that chose these values, for the record; it does not decide the run.
    """

    strategy: Strategy
    task: Task
    backbone: str
    recipe: Recipe | None = None
    shots: int | None = None
    seed: int = 0
    draw: Draw = DEFAULT_DRAW
    steps_scale: float = 1.0
    time_budget_s: float | None = None
    templates: Templates = "all"
    resize: ResizePolicy | None = None
    interpolation: Interpolation | None = None
    mean: Channels | None = None
    std: Channels | None = None
    precision: Precision | None = None
    device: str = "auto"
    threads: int | None = None
    memory_mib: float | None = None
    cache: bool = True
    cache_dir: Path | None = None
    write_card: Callable[[RunFolder, dict[str, Any], dict[str, Any] | None], None] | None = None
    runs: Path = field(default=Path("runs"))
    checkpoint_interval_s: float = INTERVAL_S
    chosen_by: Mapping[str, Any] | None = None

    def resolved_recipe(self) -> Recipe | None:
        """Return the recipe in force; None for a strategy that trains nothing."""
        default = self.strategy.recipe_for(self.shots or self.task.support().shots)
        return (self.recipe or default) if default else None

    def spec(self, revision: str, name: str, precision: Precision) -> Spec:
        """Return what the run is, given the backbone's revision and canonical name.

        Raises:
            ConfigError: There is no published list of these shots and this seed.
        """
        spec = Spec(
            strategy=self.strategy.name(),
            version=self.strategy.version,
            options=self.strategy.model_dump(mode="json", exclude_defaults=True),
            recipe=self.resolved_recipe(),
            task=self.task.name,
            data=self.task.fingerprint(),
            backbone=name,
            revision=revision,
            precision=precision,
            shots=self.shots,
            seed=self.seed,
            draw=DEFAULT_DRAW if self.shots is None else self.draw,
            drawn=drawn_digest(self.task, self.shots, self.seed, self.draw),
            templates=self.templates,
            resize=self.resize,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            steps_scale=self.steps_scale,
            time_budget_s=self.time_budget_s,
        )
        return spec if spec.recipe else spec.untrained()

    def baseline(self) -> Job:
        """Return the zero-shot job that this one is compared with: same prompts, same pixels."""
        return replace(self, strategy=ZeroShot(), recipe=None, shots=None, chosen_by=None)
