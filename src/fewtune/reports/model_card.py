"""Model card of a run: the README.md that people open first in its folder, next to summary.png."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from fewtune.backbones.model_names import EMBEDDED, BackboneSource, resolve
from fewtune.core.draws import draw_text
from fewtune.core.errors import ConfigError
from fewtune.core.files import read_json, write_text
from fewtune.core.percentages import percent, signed
from fewtune.core.search_result import search_text
from fewtune.model.strategy import Strategy
from fewtune.reports import summary
from fewtune.reports.citations import paper_of
from fewtune.reports.summary import Record
from fewtune.reports.summary_plot import write_summary_plot
from fewtune.reports.tables import markdown_rows
from fewtune.training.run_folder import RunFolder

CLASSES_NAMED = 20
PICTOGRAMS = (
    "`picto` is a small model of pictograms that comes with FewTune for trying things out. "
    "Its results say nothing about photographs."
)


def write_card(folder: RunFolder, record: Record, zero_shot: Record | None) -> None:
    """Write README.md and summary.png of a run.

    Args:
        folder: The run's folder, which holds task.json and predictions.csv already.
        record: What record.json will hold.
        zero_shot: Record of the zero-shot run it is compared with; None for that run itself.
    """
    labels, predictions = folder.predictions()
    write_summary_plot(folder.path / "summary.png", record, zero_shot, labels, predictions)
    text = model_card(folder.path.name, record, zero_shot, read_json(folder.path / "task.json"))
    write_text(folder.path / "README.md", text)


def model_card(name: str, record: Record, zero_shot: Record | None, task: dict[str, Any]) -> str:
    """Return the card of the run called `name` as Markdown with a YAML front matter.

    Args:
        name: Name of the run's folder.
        record: Contents of record.json.
        zero_shot: Record to compare with, if any.
        task: Contents of task.json.
    """
    strategy = summary.strategy_of(record)
    source = _source(record["spec"]["backbone"])
    sections = [
        _front_matter(record, strategy, source),
        f"# {strategy.title} on {_plain(task['name'])}",
        _summary(record, zero_shot),
        "## Results\n\n" + _results(record, zero_shot),
        "![Change of recall per class against zero-shot, and confusions](summary.png)"
        if zero_shot
        else "![Confusions](summary.png)",
        "## Use\n\n" + _use(name),
        "## What was trained\n\n" + _training(record, strategy, source),
        "## Data\n\n" + _data(record, task),
        "## Cost and environment\n\n" + _cost(record),
        "## Limits\n\n" + _limits(record, strategy),
    ]
    return "\n\n".join(sections) + "\n"


def _source(backbone: str) -> BackboneSource:
    try:
        return resolve(backbone)
    except ConfigError:  # a local folder that has moved since
        return BackboneSource(backbone, "local", path=Path(backbone))


def _front_matter(record: Record, strategy: Strategy, source: BackboneSource) -> str:
    vision = strategy.type == "vision"
    base = {"hub": source.repo, "embedded": source.name, "local": source.path.name}[source.kind]
    fields: dict[str, Any] = {
        "library_name": "fewtune",
        "base_model": base,
        "license": source.licence.lower(),
        "pipeline_tag": "image-classification" if vision else "zero-shot-image-classification",
        "tags": ["clip", "few-shot", record["spec"]["strategy"]],
        "metrics": ["accuracy", "recall", "precision", "f1"],
    }
    # A JSON value is a YAML value, whatever characters it holds.
    lines = (f"{key}: {json.dumps(value)}" for key, value in fields.items() if value)
    return "\n".join(["---", *lines, "---"])


def _summary(record: Record, zero_shot: Record | None) -> str:
    top1, images = record["metrics"]["top1"], record["task"]["images"]["test"]
    least, most = summary.interval(top1, images)
    text = (
        f"**{percent(top1)} % top-1** on {images:,} test images "
        f"(95 % interval {percent(least)} to {percent(most)} %)"
    )
    if zero_shot:
        before = zero_shot["metrics"]["top1"]
        text += (
            f", against {percent(before)} % for zero-shot CLIP with the same prompts and images: "
            f"{signed(top1 - before)} points"
        )
    text += "."
    if record["spec"]["backbone"] == EMBEDDED:
        text += f"\n\n> {PICTOGRAMS}"
    if _scaled(record):
        text += f"\n\n> {_scaled(record)}"
    return text


def _scaled(record: Record) -> str:
    scale = summary.steps_scale(record)
    if scale == 1:
        return ""
    return (
        f"The recipe's length was multiplied by {scale:.3g} (`--steps-scale`, `--time-budget`): "
        "this is not a result of the full recipe."
    )


def _results(record: Record, zero_shot: Record | None) -> str:
    keys = ("top1", "top5", "recall", "precision", "f1", "calibration_error")
    header = ["", "top-1", "top-5", "recall", "precision", "F1", "calibration error",
              "against zero-shot"]  # fmt: skip
    rows = [
        [
            row.title,
            *(percent(row.metrics[key]) for key in keys),
            "" if row.gain is None else signed(row.gain),
        ]
        for row in summary.rows(zero_shot or record, [record])
    ]
    return (
        f"{markdown_rows(header, rows, right=True)}\nAll in %. Recall, precision and F1 are means "
        "over classes; the calibration error is the expected one over 15 bins."
    )


def _use(name: str) -> str:
    python = f'fewtune.Classifier.load({json.dumps(name)}).predict(["image.jpg"])'
    return (
        "From the folder that holds this run, with FewTune installed:\n\n"
        f"```bash\nfewtune predict {shlex.quote(name)} image.jpg\n```\n\n"
        f"```python\nimport fewtune\n\n{python}\n```\n\n"
        "`adapter.safetensors` holds only what differs from the backbone, which must be at hand."
    )


def _training(record: Record, strategy: Strategy, source: BackboneSource) -> str:
    spec = record["spec"]
    licence = f", licence {source.licence}" if source.licence else ""
    lines = [
        f"- strategy: {strategy.title} (`{spec['strategy']}`, version {spec['version']})",
        f"- source: {paper_of(type(strategy)) or 'none'}",
        f"- backbone: `{source.path.name if source.kind == 'local' else source.name}`, "
        f"revision `{spec['revision']}`{licence}",
    ]
    if spec["options"]:
        lines.append(f"- options that are not the strategy's defaults: {_pairs(spec['options'])}")
    default = strategy.recipe_for(spec["shots"])
    if spec["recipe"] and default is not None:
        usual = default.model_dump(mode="json")
        own = {key: value for key, value in spec["recipe"].items() if value != usual.get(key)}
        lines.append(f"- recipe: {strategy.source}" + (f", except {_pairs(own)}" if own else ""))
    if "search" in record:
        lines.append(f"- search: {_plain(search_text(record['search']))}")
    lines.append(f"- precision: {spec['precision']}")
    return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in values.items())


def _data(record: Record, task: dict[str, Any]) -> str:
    spec, names = record["spec"], [_plain(name) for name in task["classes"]]
    named = ", ".join(names[:CLASSES_NAMED])
    if len(names) > CLASSES_NAMED:
        named += f" and {len(names) - CLASSES_NAMED:,} more (see `task.json`)"
    lines = [f"- task: {_plain(task['name'])}, {len(names):,} classes: {named}"]
    if spec["recipe"]:
        images = ", ".join(f"{count:,} {split}" for split, count in task["images"].items())
        drawn = f"{summary.shots_text(spec['shots'])} per class, " if spec["shots"] else ""
        drawn += draw_text(spec, ", ")
        lines.append(f"- images: {images} ({drawn}seed {spec['seed']})")
    else:
        lines.append(f"- images: {task['images']['test']:,} test; nothing was trained")
    templates = task["templates"][:1] if spec["templates"] == "first" else task["templates"]
    lines.append(f"- prompts: {', '.join(_code(t) for t in templates[:3])}")
    if len(templates) > 3:
        lines[-1] += f" and {len(templates) - 3} more"
    if any(task["descriptions"]):
        lines[-1] += "; some classes have descriptions of their own"
    lines += [f"- {key}: {_plain(task[key])}" for key in ("licence", "citation") if task[key]]
    lines += [f"- note: {_plain(note)}" for note in task["notes"]]
    return "\n".join(lines)


def _cost(record: Record) -> str:
    cost, plan, versions = record["cost"], record["plan"], record["environment"]
    names = ("fewtune", "torch", "transformers", "python")
    lines = [
        f"- trained parameters: {cost['trained_parameters']:,} "
        f"({percent(cost['trained_share'], 3)} % of the backbone)",
        f"- {cost['steps']:,} steps in {cost['training_s']:,.1f} s; "
        f"{cost['total_s']:,.1f} s with evaluation; peak memory {cost['peak_memory_mib']:,.0f} MiB",
        f"- {plan['device']}, threads: {plan['threads']}, {versions['processor']}, "
        f"{versions['machine']}",
        f"- {', '.join(f'{name} {versions[name]}' for name in names)}",
        f"- {record['created']}, spec `{record['hash']}`",
    ]
    return "\n".join(lines)


def _limits(record: Record, strategy: Strategy) -> str:
    lines = []
    if record["spec"]["recipe"]:
        lines.append(
            f"- One draw of training images and one seed ({record['spec']['seed']}); another seed "
            "gives another result."
        )
    missing = sum(recall is None for recall in record["per_class"])
    if missing:
        lines.append(f"- {missing:,} classes have no test images, so nothing is known of them.")
    if strategy.type == "vision":
        lines.append("- It chooses among the classes it was trained on, and no others.")
    lines += [
        "- Every image is given one of the classes, also an image of something else.",
        "- Test images from the same source as the training images flatter a classifier: measure "
        "on your own before relying on it.",
        "- Inherits the biases of its backbone; they were not examined.",
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return text on one line with the characters that Markdown and HTML would act on escaped."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return text as a code span, also where it holds backquotes."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"
