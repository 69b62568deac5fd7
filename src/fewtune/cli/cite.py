"""Print the BibTeX for runs: their method, backbone, dataset, and FewTune."""

from typing import Annotated

from fewtune.cli.support.console import Console
from fewtune.cli.support.verb import Argument, verb
from fewtune.core.errors import RunError
from fewtune.core.files import read_json
from fewtune.training.find_runs import find_run


def cite(runs: Annotated[tuple[str, ...], Argument("RUN...")]) -> None:
    """Print the entries on stdout, and what has none as comments above them."""
    from fewtune.reports.citations import owed

    folders = [find_run(run) for run in runs]
    for folder in folders:
        if not (folder / "task.json").is_file():
            raise RunError(f"{folder} is not a run folder.", hint="See `fewtune list runs`.")
    files = [(read_json(f / "spec.json"), read_json(f / "task.json")) for f in folders]
    text, words = owed(files)
    console = Console()
    for line in words:
        console.line(f"% {line}")
    console.line(text.rstrip("\n"))


command = verb(cite, __doc__)
