"""Model card of a run: the README.md that people open first in its folder, next to summary.png."""

from pathlib import Path
from typing import Any

from fewtune.backbones.model_names import CAVEATS, BackboneSource, resolve
from fewtune.core.draws import draw_text
from fewtune.core.errors import ConfigError
from fewtune.core.files import read_json, write_text
from fewtune.core.percentages import interval_text, percent, signed, telling
from fewtune.model.strategy import Strategy
from fewtune.reports import summary
from fewtune.reports.citations import paper_of
from fewtune.reports.page_templates import render
from fewtune.reports.summary import Record
from fewtune.reports.summary_plot import write_summary_plot
from fewtune.reports.tables import markdown_rows
from fewtune.training.run_folder import RunFolder

CLASSES_NAMED = 20


def write_card(folder: RunFolder, record: Record, zero_shot: Record | None) -> None:
    """Write README.md and summary.png of a run; of a final model, which has no scores, no picture.

    Args:
        folder: The run's folder, which holds task.json and predictions.csv already.
        record: What record.json will hold.
        zero_shot: Record of the zero-shot run it is compared with; None for that run itself.
    """
    if "measured" not in record:
        labels, predictions = folder.predictions()
        write_summary_plot(folder.path / "summary.png", record, zero_shot, labels, predictions)
    text = model_card(folder.path.name, record, zero_shot, read_json(folder.path / "task.json"))
    write_text(folder.path / "README.md", text)


def model_card(name: str, record: Record, zero_shot: Record | None, task: dict[str, Any]) -> str:
    """Return the card of the run called `name` as Markdown with a YAML front matter."""
    spec, strategy = record["spec"], summary.strategy_of(record)
    scored, zero_shot = summary.scored_records(record, zero_shot)
    source = _source(spec["backbone"])
    return render(
        "model_card.md.jinja",
        name=name,
        record=record,
        scored=scored,
        zero_shot=zero_shot,
        task=task,
        strategy=strategy,
        source=source,
        base_model={"hub": source.repo, "embedded": source.name, "local": source.path.name}[
            source.kind
        ],
        paper=paper_of(type(strategy)),
        caveat=CAVEATS.get(spec["backbone"]),
        steps_scale=summary.steps_scale(record),
        results=_results(scored, zero_shot),
        recipe_changes=_recipe_changes(spec, strategy),
        drawn=draw_text(spec, ", "),
        most_classes=CLASSES_NAMED,
    )


def _source(backbone: str) -> BackboneSource:
    try:
        return resolve(backbone)
    except ConfigError:  # a local folder that has moved since
        return BackboneSource(backbone, "local", path=Path(backbone))


def _results(record: Record, zero_shot: Record | None) -> str:
    keys = ("top5", "recall", "precision", "f1", "calibration_error")
    images, classes = record["task"]["images"]["test"], len(record["task"]["classes"])
    header = ["", "top-1", "95 % interval", "top-5", "recall", "precision", "F1",
              "calibration error", "against zero-shot"]  # fmt: skip
    rows = [
        [
            row.title,
            percent(row.metrics["top1"]),
            interval_text(row.metrics["top1"], images),
            *(percent(telling(row.metrics, classes)[key]) for key in keys),
            "" if row.gain is None else signed(row.gain),
        ]
        for row in summary.rows(zero_shot or record, [record])
    ]
    return markdown_rows(header, rows, right=True)


def _recipe_changes(spec: dict[str, Any], strategy: Strategy) -> dict[str, Any] | None:
    """Return what differs from the default recipe; None where there is no recipe."""
    default = strategy.recipe_for(spec["shots"])
    if not spec["recipe"] or default is None:
        return None
    usual = default.model_dump(mode="json")
    return {key: value for key, value in spec["recipe"].items() if value != usual.get(key)}
