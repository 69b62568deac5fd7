"""Look inside runs: weight changes, gradients, features before and after, and a diagram.

WHAT is one run, several runs to compare, or a strategy to draw: what it trains, and where. With
--ablation, WHAT is folders of runs, and accuracy is drawn over the options that a sweep varied.

Figures are SVG and PDF, numbers CSV and JSON. Weight changes (drift) and the diagram need only the
run. Gradients and the embedding need its images too: datasets are found by name, for your own
images add --data DIR.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from fewtune.cli import fit
from fewtune.cli.support.console import Console
from fewtune.cli.support.data_checks import ShownOnConsole
from fewtune.cli.support.options import Command, Option, ValueType
from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.discovery import strategy_names
from fewtune.core.errors import ConfigError, FewTuneError, did_you_mean
from fewtune.core.naming import brief
from fewtune.core.percentages import percent, significant
from fewtune.core.run_config import RunConfig
from fewtune.model.load_strategy import load_strategy
from fewtune.training.find_runs import find_run

if TYPE_CHECKING:
    from fewtune.analysis.replay import Opened
    from fewtune.core.spec import Spec
    from fewtune.core.task import Task
    from fewtune.training.prepare import Preparation

PARTS = ("drift", "gradients", "embedding", "diagram")
FOLDER = "analysis"
OF_IMAGES = ("data", "root", "layout", "subset", "classes", "score_on")
ABLATION = "With --ablation"


def analyze(subjects: tuple[str, ...], out: Path | None, machine: bool, **values: Any) -> None:
    """Analyse runs, a strategy or an ablation, and say what was found and where it is."""
    console = Console(machine=machine)
    if not subjects:
        raise ConfigError(
            "Nothing to analyse was named.",
            hint="Name a run (`fewtune list runs`), or a strategy (`fewtune list strategies`).",
        )
    found: Any
    if values["ablation"]:
        found = _ablation(subjects, out or Path(FOLDER), values, console)
    elif strategies := [name for name in subjects if _is_strategy(name)]:
        found = _strategies(subjects, strategies, out or Path(FOLDER), values, console)
    else:
        found = _runs([find_run(subject) for subject in subjects], out, values, console)
    if machine:
        console.json(found)


def _is_strategy(name: str) -> bool:
    return name.lower().replace("_", "-") in strategy_names() and not Path(name).exists()


def _strategies(
    subjects: Sequence[str],
    strategies: Sequence[str],
    out: Path,
    values: Mapping[str, Any],
    console: Console,
) -> dict[str, Any]:
    """Draw a diagram of each strategy with its default options."""
    if len(strategies) < len(subjects):
        other = next(subject for subject in subjects if subject not in strategies)
        raise ConfigError(
            f"{strategies[0]} is a strategy, and {other} is none.",
            hint="Name runs, or strategies: " + did_you_mean(other, strategy_names()),
        )
    from fewtune.analysis.diagram import analyse, of_strategy

    found = {}
    for name in strategies:
        subject = of_strategy(load_strategy(name), values["backbone"])
        stem = f"diagram-{load_strategy(name).name()}"
        found[name] = analyse(subject, out, stem)
        _show_diagram(found[name], console)
        console.line(f"figure  {out / stem}.svg")
    return found


def _ablation(
    subjects: Sequence[str], out: Path, values: Mapping[str, Any], console: Console
) -> list[dict[str, Any]]:
    from fewtune.analysis.ablation_figures import analyse

    for subject in subjects:
        if not Path(subject).is_dir():
            raise ConfigError(
                f"There is no folder {subject}.", hint="`fewtune sweep` makes runs in ./runs."
            )
    places = [Path(subject) for subject in subjects]
    found = analyse(places, out, values["x"], values["lines"], mixed=values["mixed"])
    for ablation in found:
        console.line(f"{ablation['strategy']} on {ablation['task']}, {ablation['backbone']}")
        rows = [
            [row["option"], brief(row["value"]), percent(row["top1_mean"]),
             "–" if row["top1_spread"] is None else percent(row["top1_spread"]),
             str(row["seeds"])]
            for row in ablation["one_at_a_time"]
        ]  # fmt: skip
        console.table(["option", "value", "top-1 %", "±", "seeds"], rows, left=(0, 1))
    console.line(f"figures  {out}/ablation-*.svg")
    return found


def _runs(
    paths: Sequence[Path], out: Path | None, values: Mapping[str, Any], console: Console
) -> dict[str, Any]:
    from fewtune.analysis.ablation import labels
    from fewtune.analysis.replay import open_run
    from fewtune.training.prepare import Preparation
    from fewtune.training.run_folder import RunFolder

    parts = _wanted(values, console)
    preparation = Preparation(ShownOnConsole(console))
    folders = [RunFolder(path) for path in paths]
    named = zip(paths, labels([folder.record() for folder in folders]), strict=True)
    runs = [
        open_run(path, label, _task(folder.spec(), values, console, preparation), values["device"])
        for (path, label), folder in zip(named, folders, strict=True)
    ]
    place = out or (paths[0] / FOLDER if len(paths) == 1 else Path(FOLDER))
    found = {part: _part(part, runs, place, values, console) for part in PARTS if part in parts}
    if any(run.task is None for run in runs) and {"gradients", "embedding"} & set(parts):
        console.line("Gradients and the embedding need the images of the run: add --data DIR.")
    console.line(f"figures  {place}/*.svg")
    return found


def _wanted(values: Mapping[str, Any], console: Console) -> Sequence[str]:
    """Return the parts to make: those of --only, else all whose libraries are installed."""
    from fewtune.analysis.embedding_map import require

    parts: Sequence[str] = values["parts"] or PARTS
    if "embedding" in parts:
        try:
            require(values["method"])
        except ConfigError as error:
            if values["parts"]:
                raise
            console.note(f"The embedding is left out: {error}")
            return [part for part in parts if part != "embedding"]
    return parts


def _task(
    spec: Spec, values: Mapping[str, Any], console: Console, preparation: Preparation
) -> Task | None:
    """Return a run's images: those of --data, or of the dataset that has the task's name.

    None where there are none to be found, or none are needed.
    """
    if not {"gradients", "embedding"} & set(values["parts"] or PARTS):
        return None
    from fewtune.datasets.catalog import summaries

    if values["data"] is None and spec.task not in summaries():
        return None
    images = {name: values[name] for name in OF_IMAGES if values[name] is not None}
    images |= {"data": values["data"] or spec.task, "shots": spec.shots, "backbone": spec.backbone}
    try:
        return preparation.task(RunConfig.of(images))
    except FewTuneError as error:
        if values["data"] is not None:
            raise
        console.note(f"The images of {spec.task} were not found: {error}")
        return None


def _part(
    part: str, runs: Sequence[Opened], out: Path, values: Mapping[str, Any], console: Console
) -> Any:
    if part == "drift":
        from fewtune.analysis import weight_change

        found = weight_change.analyse(runs, out)
        _show_groups("squared change", found["runs"], "groups", console)
    elif part == "gradients":
        from fewtune.analysis import gradients

        found = gradients.analyse(runs, out, values["steps"])
        _show_groups("squared gradient", found["runs"], "squared_gradient", console)
        _show_groups("cosine of successive gradients", found["runs"], "cosine_to_next", console)
    elif part == "embedding":
        from fewtune.analysis import embedding_map

        found = embedding_map.analyse(
            runs, out, values["split"], values["images"], values["method"]
        )
        _show_embedding(found, console)
    else:
        from fewtune.analysis import diagram

        found = {"runs": []}
        for run in runs:
            stem = diagram.STEM + (f"-{run.folder.path.name}" if len(runs) > 1 else "")
            found["runs"].append(diagram.analyse(diagram.of_run(run), out, stem))
            _show_diagram(found["runs"][-1], console)
    return found


def _show_groups(title: str, runs: Sequence[Mapping[str, Any]], key: str, console: Console) -> None:
    rows = [
        [run["label"], group["tower"], group["group"], f"{group['mean']:.3g}",
         group["largest"], f"{group['stages'][group['largest']]:.3g}"]
        for run in runs
        for group in run[key]
    ]  # fmt: skip
    if rows:
        console.line(title)
        header = ["run", "tower", "layers", "mean", "largest at", "there"]
        console.table(header, rows, left=(0, 1, 2, 4))


def _show_embedding(found: Mapping[str, Any], console: Console) -> None:
    rows = [
        [run["label"], f"{run['images']:,}", f"{run['silhouette_before']:.3f}",
         f"{run['silhouette_after']:.3f}", f"{run['cosine_with_before']:.3f}"]
        for run in found["runs"]
    ]  # fmt: skip
    if rows:
        console.line(f"embedding of {found['split']} images")
        header = ["run", "images", "silhouette before", "after", "cosine with before"]
        console.table(header, rows)


def _show_diagram(facts: Mapping[str, Any], console: Console) -> None:
    console.line(
        f"{facts['strategy']} on {facts['backbone']}: {facts['trained_parameters']:,} trained "
        f"parameters, {significant(facts['trained_share'])} % of the backbone"
    )
    towers = {stage["tower"] for stage in facts["stages"]}
    for tower in (t for t in ("text", "image", "both") if t in towers):
        counts = [s["trained_parameters"] for s in facts["stages"] if s["tower"] == tower]
        console.line(f"  {tower:<6} {sum(counts):>10,}")


command = Command(
    "analyze",
    callback=analyze,
    help=__doc__,
    params=[
        click.Argument(["subjects"], metavar="WHAT...", nargs=-1),
        Option(["out", "-o", "--out"], type=click.Path(path_type=Path), metavar="DIR",
               shown="RUN/analysis, or analysis for several", help="Folder to write."),
        Option(["parts", "--only"], type=ValueType(Literal[PARTS]), multiple=True,
               shown="all that can be made", help="Make only this part; may be repeated."),
        Option(["--steps"], type=ValueType(int, ge=2, le=10000), default=8, shown="8",
               help="Number of first training steps to take the gradients of."),
        Option(["--split"], type=ValueType(Literal["test", "val"]), default="test", shown="test",
               help="Split whose images are embedded."),
        Option(["--images"], type=ValueType(int, ge=5), default=1000, shown="1000",
               help="Number of images to embed, at most."),
        Option(["--method"], type=ValueType(Literal["tsne", "umap"]), default="tsne", shown="tsne",
               help="How to get two dimensions."),
        Option(["--backbone"], default=DEFAULT_BACKBONE, shown=DEFAULT_BACKBONE, metavar="NAME",
               help="Backbone to draw a strategy in."),
        Option(["--device"], default="auto", shown="auto", help="auto, cpu, cuda."),
        Option(["machine", "--json"], is_flag=True,
               help="Print one JSON object on stdout; words go to stderr."),
        *(option for option in fit.OPTIONS if option.name in OF_IMAGES),
        Option(["--ablation"], is_flag=True, section=ABLATION,
               help="Draw accuracy over the options that differ among the runs in WHAT."),
        Option(["--x"], metavar="OPTION", shown="the number with the most values",
               section=ABLATION, help="Option on the x axis."),
        Option(["--lines"], metavar="OPTION", shown="the option with the most values",
               section=ABLATION, help="Option that each line has a value of."),
        Option(["--mixed"], is_flag=True, section=ABLATION,
               help="Allow runs of different versions of FewTune, or of changed images."),
    ],
)  # fmt: skip
