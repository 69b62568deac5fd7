"""Make a web page of your runs, with the same tables as Markdown, LaTeX and CSV.

RUNS are folders with runs in them, at any depth, or files that --records wrote; by default ./runs.
The page is one file. It opens offline, in light and dark, and on a phone. Zero-shot is the first
row of every table.
"""

from pathlib import Path
from typing import Annotated

from fewtune.cli.support.console import Console
from fewtune.cli.support.verb import Argument, Mixed, verb
from fewtune.core.errors import ConfigError
from fewtune.core.fields import Flag
from fewtune.training.find_runs import RUNS


def run(
    places: Annotated[tuple[Path, ...], Argument("[RUNS]...")] = (RUNS,),
    out: Annotated[Path, Flag(metavar="DIR", short="-o"), "folder to write"] = Path("report"),
    title: Annotated[str, Flag(metavar="TEXT"), "heading of the page"] = "FewTune report",
    experiment: Annotated[
        Path | None,
        Flag(metavar="FILE.toml"),
        "sweep file that groups the tasks and has the scores to compare with",
    ] = None,
    records: Annotated[
        Path | None,
        Flag(metavar="FILE.tar.xz"),
        "also pack the records into a file to share; `fewtune report FILE` reads it",
    ] = None,
    mixed: Mixed = False,
) -> None:
    """Write the report and say where it is."""
    from fewtune.reports.packed_records import SUFFIX, is_packed, opened, pack

    for place in places:
        if not place.is_dir() and not is_packed(place):
            raise ConfigError(
                f"There is no folder {place}.",
                hint="If your runs are elsewhere, name their folder: fewtune report DIR. To make "
                "some: fewtune quickstart, or fewtune fit --data DIR",
            )
    if records and not records.name.endswith(SUFFIX):
        raise ConfigError(
            f"--records writes a {SUFFIX} file, found {records}.",
            hint=f"--records {records.stem}{SUFFIX}",
        )
    from fewtune.api import report

    page = report(places, out, title=title, mixed=mixed, experiment=experiment)
    console = Console()
    console.line(f"page     {page}")
    console.line(f"tables   {out / 'report.md'}, {out / 'runs.csv'}, {out}/*.tex")
    if records:
        with opened(places) as folders:
            pack(folders, records)
        console.line(f"records  {records}")


command = verb(run, __doc__)
