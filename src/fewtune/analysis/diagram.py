"""Diagram of what a strategy trains, and where: two towers as stacks of stages, input below.

It is drawn from the attached model alone, so a strategy that was dropped in has one, too.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewtune.analysis.diagram_drawing import draw
from fewtune.analysis.parameter_map import ParameterMap, map_parameters
from fewtune.analysis.replay import Opened
from fewtune.backbones import clip
from fewtune.core.files import write_json
from fewtune.core.naming import counted
from fewtune.core.percentages import significant
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.strategy import Strategy
from fewtune.reports.figures import write_figure
from fewtune.training.load_run import strategy_of
from fewtune.training.run_model import attach

STEM = "diagram"
# What the diagram of a strategy, not of a run, is drawn for.
CLASSES, SHOTS = 10, 16


@dataclass(frozen=True)
class Diagram:
    """A strategy attached to a backbone, as it is drawn.

    Attributes:
        share: Trained parameters over those of the backbone, from 0.
    """

    title: str
    backbone: str
    classes: int
    share: float
    parameters: ParameterMap

    @property
    def tuned(self) -> int:
        """Trained parameters."""
        return sum(level.tuned for level in self.parameters.levels)

    def heading(self) -> tuple[str, str]:
        """Return what stands above the diagram: a title and a line."""
        share = f", {significant(self.share)} % of the backbone" if self.tuned else ""
        return (
            f"{self.title} on {self.backbone}",
            f"{counted(self.tuned, 'trained parameter')}{share}; {counted(self.classes, 'class')}",
        )

    def words(self) -> str:
        """Return what the diagram shows, in words."""
        text = f"What {self.title} trains in {self.backbone}, {counted(self.classes, 'class')}: "
        parts = [
            f"{level.tower} {level.stage} {level.tuned:,}"
            for level in self.parameters.levels
            if level.tuned
        ]
        cuts = self.parameters.cuts
        text += f"{counted(self.tuned, 'parameter')} ({', '.join(parts) or 'none'})."
        return f"{text} Stages computed once: image {cuts.image}, text {cuts.text}."

    def facts(self) -> dict[str, Any]:
        """Return the same as numbers."""
        return {
            "strategy": self.title,
            "backbone": self.backbone,
            "classes": self.classes,
            "trained_parameters": self.tuned,
            "trained_share": self.share,
            "cut": asdict(self.parameters.cuts),
            "stages": [
                {"tower": level.tower, "stage": level.stage, "trained_parameters": level.tuned}
                for level in self.parameters.levels
            ],
            "trained": [
                {
                    "tensor": part.name,
                    "tower": part.tower,
                    "stage": part.stage,
                    "group": part.group,
                    "elements": part.elements,
                    "added": part.added,
                }
                for part in self.parameters.tuned
            ],
        }


def analyse(subject: Diagram, out: Path, stem: str = STEM) -> dict[str, Any]:
    """Write STEM.svg, .pdf and .json, and return what the JSON holds."""
    write_json(out / f"{stem}.json", subject.facts())
    write_figure(out / stem, lambda: draw(subject.parameters, subject.heading()), subject.words())
    return subject.facts()


def of_run(run: Opened) -> Diagram:
    """Return the diagram's subject for a run: its options, its classes."""
    strategy, cost = strategy_of(run.spec), run.record["cost"]
    classes = len(run.tuned.classes)
    return Diagram(
        strategy.title, run.spec.backbone, classes, cost["trained_share"], run.parameters
    )


def of_strategy(kind: type[Strategy], backbone: str) -> Diagram:
    """Return the diagram's subject for a strategy with its default options."""
    return of_model(kind(), clip.load(backbone))


def of_model(strategy: Strategy, model: DualEncoder) -> Diagram:
    """Return the diagram's subject for a strategy on a private copy of a backbone."""
    names = tuple(f"class {label}" for label in range(CLASSES))
    classes = ClassSet(names, counts=(SHOTS,) * CLASSES)
    head = attach(strategy, model, classes, strategy.recipe_for(SHOTS), 0)
    found = map_parameters(head, classes)
    whole = sum(parameter.numel() for parameter in model.net.parameters())
    tuned = sum(part.elements for part in found.tuned)
    return Diagram(strategy.title, model.name, CLASSES, tuned / whole, found)
