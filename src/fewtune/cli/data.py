"""Get datasets, and look at images before training on them.

`fewtune data list` names the benchmark datasets, `fewtune data info NAME` tells what is known of
one, `fewtune data download NAME` fetches it. `fewtune data info DIR` counts your own images,
`fewtune data verify DIR` opens each of them, and `fewtune data sample DIR` writes some to try
FewTune on.
"""

from __future__ import annotations

from pathlib import Path

import click

from fewtune.cli.support import benchmark_listing
from fewtune.cli.support.console import Console
from fewtune.cli.support.options import Command, Group, Option, ValueType

EXIT_ERRORS = 1

JSON = Option(["machine", "--json"], is_flag=True, help="Print one JSON object on stdout.")


def verify(location: str, root: Path | None, shots: int | None, machine: bool) -> int:
    """Decode every image and report."""
    from dataclasses import replace

    from fewtune.cli.support.data_checks import ShownOnConsole, show_findings, show_prompts
    from fewtune.datasets.catalog import load, resolve
    from fewtune.datasets.expected_sizes import size_findings
    from fewtune.training.prepare import Preparation

    console = Console(machine=machine)
    check = Preparation(ShownOnConsole(console)).check
    name = benchmark_listing.declared(location, root)
    if name is None:
        task = resolve(location, root=root)
        report = check(task, shots)
        show_prompts(task, console)
    else:
        dataset = load(name)
        task = resolve(
            name, root=benchmark_listing.folder(root), subset="full" if _is_vtab(name) else None
        )
        report = check(task, shots)
        sizes = tuple(size_findings(task, dataset.sizes))
        show_findings(replace(report, findings=sizes), console)
        report = replace(report, findings=(*sizes, *report.findings))
    if machine:
        console.json(report.to_json())
    elif not report.findings:
        console.line("  nothing to complain about")
    return EXIT_ERRORS if report.errors else 0


def _is_vtab(name: str) -> bool:
    return name.startswith("vtab/")


def info(location: str, root: Path | None, machine: bool) -> None:
    """Tell what is known of a dataset, or count a folder without opening an image."""
    from fewtune.cli.support.data_checks import show_counts, show_summary
    from fewtune.data.findings import count
    from fewtune.datasets.catalog import resolve

    console = Console(machine=machine)
    name = benchmark_listing.declared(location, root)
    if name is not None:
        benchmark_listing.show(name, root, console)
        return
    task = resolve(location)
    if machine:
        console.json(
            {
                "task": task.name,
                "classes": list(task.classes.names),
                "counts": count(task),
                "notes": list(task.notes),
                "fingerprint": task.fingerprint(),
                "licence": task.licence,
                "citation": task.citation,
            }
        )
        return
    show_summary(task, console)
    show_counts(task, console)


def list_(root: Path | None, machine: bool) -> None:
    """Name all datasets."""
    benchmark_listing.list_all(root, Console(machine=machine))


def download(name: str, root: Path | None, splits: tuple[str, ...], shards: bool) -> None:
    """Download a dataset."""
    benchmark_listing.get(benchmark_listing.require(name), root, splits, shards, Console())


def sample(folder: Path) -> None:
    """Write the embedded sample task to a new folder."""
    from fewtune.datasets.fashion import LICENCE, TITLE, write_sample

    written = write_sample(folder)
    console = Console()
    console.line(f"{TITLE} is in {written} ({LICENCE}).")
    console.line(f"next     fewtune fit --data {folder} --backbone picto --shots 16")


LOCATION = ["location"]
ROOT = Option(
    ["--root"],
    type=click.Path(path_type=Path),
    metavar="DIR",
    shown="the download folder",
    help="Folder that holds datasets by name.",
)
command = Group(
    "data",
    help=__doc__,
    commands={
        "list": Command(
            "list",
            callback=list_,
            short_help="Name all benchmark datasets.",
            help="Name all benchmark datasets: group, classes, images, size of the download in "
            "GB, licence, and in which form each is on this machine.",
            params=[ROOT, JSON],
        ),
        "download": Command(
            "download",
            callback=download,
            short_help="Fetch a dataset.",
            help="Fetch a dataset into the download folder, where every command finds it. A "
            "download that stopped is continued, and every file is compared with its published "
            "checksum where there is one. HF_ENDPOINT names a mirror of the Hub.",
            params=[
                click.Argument(["name"], metavar="NAME"),
                ROOT,
                Option(
                    ["splits", "--split"],
                    multiple=True,
                    metavar="NAME",
                    shown="all",
                    help="Fetch only this split where it can be had alone; may be repeated.",
                ),
                Option(
                    ["--shards"],
                    is_flag=True,
                    help="Fetch the webdataset shards of CLIP benchmark in place of the authors' "
                    "files; they have no official lists of VTAB-1k.",
                ),
            ],
        ),
        "verify": Command(
            "verify",
            callback=verify,
            short_help="Decode every image and report what is wrong.",
            help="Decode every image once and report what is wrong; the exit status is 1 if a "
            "finding is an error. A second look at unchanged files takes no time. The images of a "
            "dataset are also counted.",
            params=[
                click.Argument(LOCATION, metavar="DIR|NAME"),
                ROOT,
                Option(
                    ["--shots"], type=ValueType(int, ge=1), help="Report classes with fewer images."
                ),
                JSON,
            ],
        ),
        "info": Command(
            "info",
            callback=info,
            short_help="Tell what is known of a dataset or a folder.",
            help="Tell what is known of a dataset: licence, citation, classes, prompts, and the "
            "forms in which it is read. Of a folder: layout, classes, counts and prompts. No image "
            "is opened.",
            params=[click.Argument(LOCATION, metavar="DIR|NAME"), ROOT, JSON],
        ),
        "sample": Command(
            "sample",
            callback=sample,
            short_help="Write the images that come with FewTune.",
            help="Write the images that come with FewTune, 1,160 pieces of clothing, to a new "
            "folder: something to try every other command on.",
            params=[
                click.Argument(["folder"], metavar="DIR", type=click.Path(path_type=Path)),
            ],
        ),
    },
)
