"""Turn runs into a page, with the same tables as Markdown, LaTeX and CSV.

RUNS are folders that hold run folders, at any depth, or files that --records wrote. The page needs
nothing but itself: it opens offline, in light and dark, and on a phone. Zero-shot stands first in
every table.
"""

from __future__ import annotations

from pathlib import Path

import click

from fewtune.cli.support.console import Console
from fewtune.cli.support.find_runs import RUNS
from fewtune.cli.support.options import Command, Option
from fewtune.core.errors import ConfigError
from fewtune.core.toml import read_toml


def report(
    places: tuple[Path, ...],
    out: Path,
    title: str,
    mixed: bool,
    experiment: Path | None,
    records: Path | None,
) -> None:
    """Write the report and say where it is."""
    from fewtune.datasets.catalog import groups
    from fewtune.reports.packed_records import SUFFIX, is_packed, opened, pack
    from fewtune.reports.reproduction import Experiment
    from fewtune.reports.study_report import write_report

    for place in places:
        if not place.is_dir() and not is_packed(place):
            raise ConfigError(
                f"There is no folder {place}.", hint="`fewtune list runs` shows runs."
            )
    if records and not records.name.endswith(SUFFIX):
        raise ConfigError(
            f"--records writes a {SUFFIX} file, found {records}.",
            hint=f"--records {records.stem}{SUFFIX}",
        )
    wanted = Experiment.of(read_toml(experiment), experiment) if experiment else None
    with opened(places or (RUNS,)) as folders:
        page = write_report(folders, out, groups(), title, mixed=mixed, experiment=wanted)
        if records:
            pack(folders, records)
    console = Console()
    console.line(f"page     {page}")
    console.line(f"tables   {out / 'report.md'}, {out / 'runs.csv'}, {out}/*.tex")
    if records:
        console.line(f"records  {records}")


command = Command(
    "report",
    callback=report,
    help=__doc__,
    params=[
        click.Argument(["places"], metavar="[RUNS]...", nargs=-1, type=click.Path(path_type=Path)),
        Option(["out", "-o", "--out"], type=click.Path(path_type=Path), default=Path("report"),
               metavar="DIR", shown="report", help="Folder to write."),
        Option(["--title"], default="FewTune report", metavar="TEXT", shown="FewTune report",
               help="Heading of the page."),
        Option(["--experiment"], type=click.Path(path_type=Path), metavar="FILE.toml",
               help="Group the tasks as this sweep file does, and compare with the scores that it "
               "expects."),
        Option(["--records"], type=click.Path(path_type=Path), metavar="FILE.tar.xz",
               help="Also pack the records, to share them: a report can be made of that file."),
        Option(["--mixed"], is_flag=True,
               help="Accept several versions of FewTune, or several states of a task's images."),
    ],
)  # fmt: skip
