"""Get datasets, and check your images before training on them.

For your own images: `fewtune data info DIR` counts them, `fewtune data verify DIR` opens every one.
For benchmarks: `fewtune data list`, `fewtune data info NAME`, `fewtune data download NAME`. No
images yet? `fewtune data sample DIR` writes some.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from fewtune.cli.support import benchmark_listing
from fewtune.cli.support.console import Console
from fewtune.cli.support.options import Group
from fewtune.cli.support.verb import Argument, Json, Root, verb
from fewtune.core.fields import Flag

EXIT_ERRORS = 1

Location = Annotated[str, Argument("DIR|NAME")]


def verify(
    location: Location,
    root: Root = None,
    shots: Annotated[
        int | None, Field(ge=1), "report classes with fewer training images than this"
    ] = None,
    machine: Json = False,
) -> int:
    """Open every image and report what is wrong.

    The exit status is 1 if something must be mended. Unchanged files are not opened a second time.
    """
    from dataclasses import replace

    from fewtune.cli.support.data_checks import ShownOnConsole, show_findings, show_prompts
    from fewtune.datasets.catalog import load, resolve
    from fewtune.datasets.loading import size_findings
    from fewtune.training.prepare import Preparation

    console = Console(machine=machine)
    check = Preparation(ShownOnConsole(console, worst="error")).check
    name = benchmark_listing.declared(location, root)
    if name is None:
        task = resolve(location, root=root)
        report = check(task, shots)
        show_prompts(task, console)
    else:
        dataset = load(name)
        where = benchmark_listing.folder(root)
        task = resolve(name, root=where, subset="full" if name.startswith("vtab/") else None)
        report = check(task, shots)
        sizes = tuple(size_findings(task, dataset.sizes))
        show_findings(replace(report, findings=sizes), console)
        report = replace(report, findings=(*sizes, *report.findings))
    if machine:
        console.json(report.to_json())
    elif not report.findings:
        console.line("  nothing to complain about")
    return EXIT_ERRORS if report.errors else 0


def info(location: Location, root: Root = None, machine: Json = False) -> None:
    """Describe a dataset or a folder of images, without opening any image.

    Of a folder: layout, classes, counts and prompts. Of a dataset: licence, citation, classes,
    prompts, and the forms it can be read from.
    """
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


def list_(root: Root = None, machine: Json = False) -> None:
    """List the benchmark datasets: size, licence, and whether each is on this machine."""
    benchmark_listing.list_all(root, Console(machine=machine))


def download(
    name: Annotated[str, Argument("NAME")],
    root: Root = None,
    split: Annotated[
        tuple[str, ...],
        Flag(metavar="NAME", shown="all"),
        "fetch only this split, where the files allow it; may be repeated",
    ] = (),
    shards: Annotated[
        bool,
        "fetch CLIP benchmark's webdataset shards instead of the authors' files; they lack "
        "VTAB-1k's official lists",
    ] = False,
) -> None:
    """Download a dataset.

    It goes into the download folder, where every command finds it. An interrupted download
    continues, and published checksums are checked. HF_ENDPOINT sets a mirror of the Hub.
    """
    benchmark_listing.get(benchmark_listing.require(name), root, split, shards, Console())


def sample(folder: Annotated[Path, Argument("DIR")]) -> None:
    """Write 1,160 images of clothing into a new folder, to try the other commands on."""
    from fewtune.datasets.samples import FASHION, write_sample

    written = write_sample(FASHION, folder)
    console = Console()
    console.line(f"{FASHION.title} is in {written} ({FASHION.licence}).")
    console.line(f"next     fewtune fit --data {folder} --backbone picto --shots 16")


command = Group(
    "data",
    help=__doc__,
    commands={
        "list": verb(list_),
        "download": verb(download),
        "verify": verb(verify),
        "info": verb(info),
        "sample": verb(sample),
    },
)
