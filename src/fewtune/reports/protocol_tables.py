"""Tables of benchmark protocols, from what a sweep remembers in its folder of runs.

`protocol.json` says which protocols were run there, and which run answers which of their cases, so
the tables can be made without the data. Where a run is missing they have a hole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fewtune.core import protocol as protocols
from fewtune.core.errors import RunError
from fewtune.core.files import digest, read_json, write_json, write_text
from fewtune.core.percentages import widest_interval
from fewtune.core.protocol import Case, Protocol, Score, Target, load_protocol
from fewtune.model.load_strategy import declared_strategy
from fewtune.reports.summary import Record, steps_scale
from fewtune.reports.tables import ReportTable, markdown, ranked_means, table_of_columns
from fewtune.sweeps.runner import FAILURE
from fewtune.sweeps.scheduler import Scheduler, scores_of
from fewtune.training.run_folder import sound_record

FILE = "protocol.json"
UNIT = "Top-1 in percent; ± is the sample standard deviation over seeds."


@dataclass(frozen=True)
class Remembered:
    """A protocol, and the runs of its cases.

    Attributes:
        runs: Folder of the run of each case, by the case's key.
        tasks: Name of the task behind each target.
    """

    protocol: Protocol
    runs: Mapping[str, Path]
    tasks: Mapping[Target, str]

    def scores(self) -> list[Score]:
        """Return the scores of all complete runs; what follows from a search included."""
        known: dict[str, list[Score]] = {}
        while True:
            every = [score for scores in known.values() for score in scores]
            new = [case for case in self.protocol.cases(every) if case.key() not in known]
            if not new:
                return every
            known |= {case.key(): self._of(case) for case in new}

    def records(self) -> list[Record]:
        """Return the records of the runs that are complete."""
        return [record for record in map(sound_record, self.runs.values()) if record]

    def _of(self, case: Case) -> list[Score]:
        folder = self.runs.get(case.key())
        if folder is None:
            return []
        failure = folder / FAILURE
        error = str(read_json(failure).get("error", "")) if failure.exists() else ""
        return list(scores_of(case, folder, self.tasks, error))


def remember(protocol: Protocol, scheduler: Scheduler) -> None:
    """Write down which runs are those of a protocol, next to the runs.

    An earlier sweep of the folder that asked for a part of these runs is forgotten.
    """
    path = scheduler.folder / FILE
    runs = {key: run.folder.name for key, run in sorted(scheduler.runs.items())}
    tasks = [[t.model_dump(mode="json"), name] for t, name in scheduler.tasks.items()]
    new: dict[str, Any] = {
        "protocol": protocol.name(),
        "fields": protocol.model_dump(mode="json"),
        "runs": runs,
        "tasks": sorted(tasks, key=repr),
    }
    kept = [old for old in (_checked(path) if path.exists() else []) if not _part(old, new)]
    write_json(path, {"protocols": [*kept, new]})


@contextmanager
def remembered(source: object, scheduler: Scheduler) -> Iterator[None]:
    """Keep which runs are those of a protocol, and write its tables at the end, also of Ctrl-C."""
    if not isinstance(source, Protocol):
        yield
        return
    remember(source, scheduler)
    try:
        yield
    finally:
        remember(source, scheduler)
        texts = map(markdown, tables_of_protocol(source, scheduler.folder))
        write_text(tables_file(source, scheduler.folder), "\n".join(texts))


def tables_file(protocol: Protocol, runs: Path) -> Path:
    """Return where the tables of a protocol are written."""
    return runs / f"{protocol.name()}.md"


def tables_of_protocol(protocol: Protocol, runs: Path) -> list[ReportTable]:
    """Return the tables of the runs of a protocol in a folder."""
    mine = [one for one in recall([runs]) if one.protocol == protocol]
    return [table for one in mine for table in tables_of(one)]


def _part(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether all runs and targets of a protocol are among those of another sweep of it."""
    runs = old["runs"].keys() <= new["runs"].keys()
    return (
        old["protocol"] == new["protocol"] and runs and all(t in new["tasks"] for t in old["tasks"])
    )


def recall(places: Iterable[Path]) -> list[Remembered]:
    """Return the protocols that were run in folders of runs, at any depth.

    Runs of one protocol with the same fields count together, wherever they lie.

    Raises:
        RunError: A file cannot be read or is not what a sweep writes.
        ConfigError: A strategy or protocol is not installed.
    """
    files = sorted({file for place in places for file in place.rglob(FILE)})
    found: dict[str, Remembered] = {}
    for file in files:
        for value in _checked(file):
            key = digest([value["protocol"], value["fields"]])
            kind = load_protocol(value["protocol"])
            known = found.get(key) or Remembered(kind.of(value["fields"], str(file)), {}, {})
            runs = {case: file.parent / Path(folder).name for case, folder in value["runs"].items()}
            complete = {c: f for c, f in known.runs.items() if (f / "record.json").exists()}
            tasks = {Target.model_validate(target): name for target, name in value["tasks"]}
            found[key] = replace(
                known, runs={**known.runs, **runs, **complete}, tasks={**known.tasks, **tasks}
            )
    return list(found.values())


def _checked(file: Path) -> list[dict[str, Any]]:
    value = read_json(file)
    wanted = {"protocol": str, "fields": dict, "runs": dict, "tasks": list}
    entries = value.get("protocols") if isinstance(value, dict) else None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(k), t) for k, t in wanted.items())
        for entry in entries
    ):
        raise RunError(
            f"{file} is not what `fewtune sweep` writes.",
            hint="Remove it, and type the sweep's command again to have it written.",
        )
    return entries


def protocol_tables(places: Iterable[Path]) -> list[ReportTable]:
    """Return the tables of all protocols that were run in folders of runs, at any depth.

    Raises: As `recall`.
    """
    names: dict[str, int] = {}
    made = []
    for one in recall(places):
        for table in tables_of(one):
            names[table.name] = names.get(table.name, 0) + 1
            again = f"-{names[table.name]}" if names[table.name] > 1 else ""
            made.append(replace(table, name=table.name + again))
    return made


def tables_of(remembered: Remembered) -> list[ReportTable]:
    """Return the tables of one protocol, with holes where a score is missing."""
    protocol = remembered.protocol
    records, notes = remembered.records(), [UNIT]
    if records:
        sizes = {of["spec"]["task"]: int(of["task"]["images"]["test"]) for of in records}
        notes.append(widest_interval(sizes))
    if scales := sorted({steps_scale(of) for of in records} - {1.0}):
        text = ", ".join(f"{scale:.2g}" for scale in scales)
        notes.append(f"Trained for × {text} of the recipes' length, so not the full methods.")
    of = f", {protocol.backbone}" if protocol.backbone else ""
    return [
        as_text(table, of, notes) for table in protocol.tables(remembered.scores()) if table.rows
    ]


def as_text(table: protocols.ScoreTable, of: str = "", notes: Sequence[str] = ()) -> ReportTable:
    """Return a table of numbers as texts: percent, spread over seeds, best and second marked.

    Args:
        notes: What stands below it before its own notes.
    """
    titles = [declared_strategy(row.label).title for row in table.rows]
    columns = [
        (name, ranked_means([row.values[index] for row in table.rows]))
        for index, name in enumerate(table.columns)
    ]
    made = table_of_columns("", table.title + of, titles, columns, (*notes, *table.notes))
    return made.named(table.name)
