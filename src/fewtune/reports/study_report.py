"""Report of a study: one self-contained page, and its tables as Markdown, LaTeX and CSV."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewtune.backbones.model_names import CAVEATS
from fewtune.core.errors import ConfigError
from fewtune.core.files import read_json, write_bytes, write_json, write_text
from fewtune.reports import study_tables, tables
from fewtune.reports.page_templates import render
from fewtune.reports.published_scores import TOLERANCE
from fewtune.reports.report_sections import Section, sections
from fewtune.reports.reproduction import Comparison, Experiment, compare
from fewtune.reports.study_runs import Run, group, load_runs, refuse_mixed
from fewtune.reports.summary import steps_scale
from fewtune.reports.tables import ReportTable

MARKDOWN, PAGE = "report.md", "index.html"
# Names the files of a report, so that a folder with other files is left alone.
FILES = "report.json"


def write_report(
    places: Sequence[Path],
    out: Path,
    groups: Mapping[str, str],
    title: str = "FewTune report",
    *,
    mixed: bool = False,
    experiment: Experiment | None = None,
) -> Path:
    """Write the report of all complete runs below `places` into `out` and return its page.

    Equal runs give equal bytes. An earlier report in `out` is replaced.

    Args:
        groups: Group of each task that has one ("natural").
        mixed: Accept runs of several versions of FewTune, and several states of one task's data.
        experiment: Its groups are added, and its expected scores compared with ours; without any,
            all that are known.

    Raises:
        ConfigError: `out` has files, but no report.
        RunError: There are no complete runs, or they cannot stand in one table.
    """
    earlier = _earlier_files(out)  # a folder that is in use is refused before work is done for it
    runs, notes = load_runs(places)
    if not mixed:
        refuse_mixed(runs)
    studies = group(runs)
    expecting = experiment if experiment and experiment.expected else None
    comparisons = compare(studies, expecting)
    shown = sections(
        places,
        studies,
        {**groups, **(experiment.groups if experiment else {})},
        comparisons,
        expecting.tolerance if expecting else TOLERANCE,
        expecting.title if expecting else "",
    )
    page = {"title": title, "notes": notes, "sections": shown, **_about(runs, comparisons)}
    write_json(out / FILES, sorted(earlier))  # from here on the folder is a report's
    written = {*_write_alone(out, shown), *_write_runs(out, runs), *_write_pages(out, page)}
    for name in earlier - written:
        (out / name).unlink(missing_ok=True)
    write_json(out / FILES, sorted(written))
    return out / PAGE


def _earlier_files(out: Path) -> set[str]:
    """Return the names of the files of the report in `out`, if there is one."""
    if out.is_dir() and (out / FILES).is_file():
        listed = read_json(out / FILES)
        if isinstance(listed, list):
            return {path.name for path in out.iterdir() if path.name in listed and path.is_file()}
    elif not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return set()
    raise ConfigError(
        f"{out} holds other files than those of a report.",
        hint="Choose a new folder with -o, or remove it first.",
    )


def _write_alone(out: Path, shown: Sequence[Section]) -> Iterator[str]:
    """Write every table and figure of the page as a file of its own; yield the names."""
    for one in (one for section in shown for one in section.every()):
        if isinstance(one, ReportTable):
            texts = {"tex": tables.latex(one), "csv": tables.as_csv(one)}
        else:
            texts = {"svg": one.file}
        for ending, text in texts.items():
            write_text(out / f"{one.name}.{ending}", text)
            yield f"{one.name}.{ending}"


def _write_runs(out: Path, runs: Sequence[Run]) -> Iterator[str]:
    """Write a line for each run as CSV, and as parquet if pyarrow is installed."""
    csv = out / "runs.csv"
    write_text(csv, study_tables.runs_csv(runs))
    yield csv.name
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        return
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(csv), sink)
    write_bytes(out / "runs.parquet", sink.getvalue().to_pybytes())
    yield "runs.parquet"


def _write_pages(out: Path, values: Mapping[str, Any]) -> Iterator[str]:
    """Write the report as Markdown and as a page."""
    for name in (MARKDOWN, PAGE):
        write_text(out / name, render(f"{name}.jinja", markdown=tables.markdown, **values))
        yield name


def _about(runs: Sequence[Run], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Return what the page says of the runs as a whole."""

    def distinct(name: str) -> str:
        return ", ".join(sorted({str(run.record["environment"].get(name)) for run in runs}))

    data = sorted({f"{run.spec['task']} ({run.spec['data'][:12]})" for run in runs})
    remarks = sorted({f"{r.spec['task']}: {n}" for r in runs for n in r.record["task"]["notes"]})
    facts = [
        ("runs", f"{len(runs)}, each a folder; runs.csv has a line for each"),
        ("backbones", ", ".join(sorted({run.spec["backbone"] for run in runs}))),
        ("data", "; ".join(data)),
        ("of the data", "; ".join(remarks)),
        ("machines", distinct("processor")),
        ("versions", f"fewtune {distinct('fewtune')}, torch {distinct('torch')}"),
    ]
    return {
        "runs": runs,
        "differences": [one.sentence() for one in comparisons if one.differs],
        "tasks": sorted({run.spec["task"] for run in runs}),
        "caveats": [
            CAVEATS[name] for name in CAVEATS if any(run.spec["backbone"] == name for run in runs)
        ],
        "scaled": any(steps_scale(run.record) != 1 for run in runs),
        "facts": facts,
    }
