"""Run folder: its files, how they are written, and how they are read again.

record.json          spec, plan, environment, metrics, cost: written last, so its presence
                     means that the run is complete
spec.json plan.json  what was asked for, and how it was executed
task.json            classes, prompts and the drawn training images
backbone.json        where the backbone was found, if it is not a published one
images.json          whether the images are still those that the run was made with
seen.json            what the training and validation images are known by
adapter.safetensors  the tensors that differ from the backbone, nothing frozen
predictions.csv      key, label, prediction, confidence and names of classes of every test image
metrics.jsonl        loss and rate of every step
mistakes.json        small pictures of wrongly classified test images
README.md summary.png  a card and a picture for people
"""

from __future__ import annotations

import csv
import functools
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from fewtune.backbones.config_files import digest_small_files
from fewtune.core.csv_text import csv_text
from fewtune.core.errors import AdapterError, RunError
from fewtune.core.fields import Frozen
from fewtune.core.files import read_json, write_atomic, write_sealed, write_text
from fewtune.core.naming import counted
from fewtune.core.spec import Plan, Spec
from fewtune.core.task import ClassSet, Example, Task
from fewtune.model.load_strategy import plugin_version

if TYPE_CHECKING:  # what is read for tables needs no torch
    from torch import Tensor

    from fewtune.model.head import Head

FORMAT = 1

F = TypeVar("F", bound=Frozen)


class RunFolder:
    """Paths and contents of one run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished run."""
        return self.path / "checkpoint.safetensors"

    @property
    def adapter(self) -> Path:
        """The trained tensors."""
        return self.path / "adapter.safetensors"

    def complete(self) -> bool:
        """Whether the run has ended and its record is written."""
        return (self.path / "record.json").exists()

    def begin(self, spec: Spec, task: Task) -> None:
        """Write what is known before training, over what an interrupted run left.

        Raises:
            RunError: A newer FewTune wrote the folder, or it cannot be written.
        """
        if (self.path / "spec.json").exists():
            self.spec()
        for left in self.path.glob(".*.tmp"):  # of a process that was killed while writing
            left.unlink(missing_ok=True)
        write_sealed(self.path / "spec.json", {"format": FORMAT, **spec.model_dump(mode="json")})
        write_sealed(self.path / "task.json", _task_to_json(task))

    def write_backbone(self, found_at: Path, revision: str) -> None:
        """Store where a backbone in files was found: its name may be a relative path."""
        where = {"path": str(found_at.absolute()), "revision": revision}
        write_sealed(self.path / "backbone.json", {**where, "files": digest_small_files(found_at)})

    def backbone_path(self) -> str | None:
        """Return where the backbone was found; None where its name says it."""
        found = self._backbone().get("path")
        return found if isinstance(found, str) else None

    def refuse_changed_backbone(self, path: Path) -> None:
        """Refuse a backbone with other files next to its weights than the run was trained with.

        Raises:
            AdapterError: A file differs; it is named.
        """
        stored = self._backbone().get("files", {})
        found = digest_small_files(path)
        for name in (name for name in stored if found.get(name) != stored[name]):
            raise AdapterError(
                f"{name} of the backbone {path} is not what the run was trained with.",
                hint="Say where that one is: --backbone PATH. Or train again.",
            )

    def _backbone(self) -> dict[str, Any]:
        path = self.path / "backbone.json"
        value = read_json(path) if path.exists() else {}
        return value if isinstance(value, dict) else {}

    def plan(self) -> Plan | None:
        """Return the plan that an interrupted run was started with."""
        path = self.path / "plan.json"
        return _validated(Plan, read_json(path), path) if path.exists() else None

    def write_plan(self, plan: Plan) -> None:
        """Store the plan before the first step."""
        write_sealed(self.path / "plan.json", plan.model_dump(mode="json"))

    def spec(self) -> Spec:
        """Return the spec.

        Raises:
            RunError: This is no run folder, or a newer FewTune wrote it.
        """
        path = self.path / "spec.json"
        if not path.exists():
            raise RunError(
                f"{self.path} is not a run folder: it has no spec.json.",
                hint="A run folder is what `fewtune fit` writes, for example "
                "runs/clip-lora-flowers-0123456789ab.",
            )
        value = read_json(path)
        found = value.pop("format", None) if isinstance(value, dict) else None
        if found != FORMAT:
            raise RunError(
                f"{self.path} has format {found}; this FewTune reads format {FORMAT}.",
                hint="Upgrade: pip install -U fewtune",
            )
        return _validated(Spec, value, path)

    def finish(self, record: dict[str, Any]) -> None:
        """Write the record, the last file of a run, and remove the checkpoint."""

        def write(temporary: Path) -> None:
            write_sealed(temporary, record)
            # Not earlier: the disk may be full. Not later: a kill would leave it for ever.
            self.checkpoint.unlink(missing_ok=True)

        write_atomic(self.path / "record.json", write)

    def record(self) -> dict[str, Any]:
        """Return record.json of a complete run.

        Raises:
            RunError: The run is not complete.
        """
        self.spec()
        if not self.complete():
            raise RunError(
                f"The run in {self.path} is not complete.",
                hint="Type its `fewtune fit` command again to continue it.",
            )
        value: dict[str, Any] = read_json(self.path / "record.json")
        return value

    def classes(self) -> ClassSet:
        """Return the classes that the run was trained on.

        Raises:
            RunError: task.json is missing or damaged.
        """
        path = self.path / "task.json"
        value = read_json(path)
        try:
            return ClassSet(
                tuple(value["classes"]),
                tuple(value["templates"]),
                tuple(tuple(texts) for texts in value["descriptions"]),
                tuple(value["counts"]),
                tuple(value.get("words", ())),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} does not describe the classes of a run.",
                hint="Restore the file, or remove the folder and train again.",
            ) from error

    def drawn_keys(self) -> frozenset[str]:
        """Return the keys of the images that the run was trained and validated on."""
        drawn = read_json(self.path / "task.json").get("drawn", {})
        return frozenset(key for split in drawn.values() for key, _ in split)

    def save_adapter(self, head: Head) -> None:
        """Write the trained tensors."""
        from fewtune.training.tensor_files import write_tensors

        # One key of metadata: safetensors writes several in random order.
        write_tensors(self.adapter, head.saved(), {"fewtune": str(FORMAT)})

    def load_adapter(self, head: Head) -> None:
        """Read the trained tensors into a head that was attached in the same way.

        Raises:
            AdapterError: The file is missing, damaged, or of another strategy or backbone.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from fewtune.training.tensor_files import copy_tensors

        try:
            tensors = load_file(self.adapter)
        except (SafetensorError, OSError) as error:
            raise AdapterError(
                f"{self.adapter} cannot be read: {error}.", hint="Train the run again."
            ) from error
        if misfits := copy_tensors(tensors, head.saved()):
            raise AdapterError(
                f"{self.adapter} does not belong to this run: "
                f"{counted(len(misfits), 'tensor differs', 'tensors differ')}, "
                f"the first is {misfits[0]!r}."
            )
        self._check(self.adapter.name)
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise AdapterError(
                f"{self.adapter} holds values that are not finite.",
                hint="Train the run again, with a lower learning rate (--lr) if that is why.",
            )

    def checksums(self) -> dict[str, str]:
        """Return the SHA-256 of the files that a record vouches for, by name."""
        files = (self.adapter, self.path / "predictions.csv")
        return {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.exists()
        }

    def _check(self, name: str) -> None:
        """Refuse a file that is not the one of the record; older records name none.

        Raises:
            AdapterError: It was changed or damaged.
        """
        record = read_json(self.path / "record.json") if self.complete() else {}
        stored = record.get("files", {}).get(name)
        if stored is not None and self.checksums().get(name) != stored:
            raise AdapterError(
                f"{self.path / name} is not what the run wrote: it was changed or damaged.",
                hint="Restore it, or remove the folder and train again.",
            )

    def write_predictions(
        self, examples: Sequence[Example], logits: Tensor, names: Sequence[str]
    ) -> None:
        """Write predictions.csv from logits (N, C); labels are indices into the C names.

        Runs of earlier versions have no columns with names.
        """
        confidence, predicted = logits.softmax(1).max(1)
        rows = zip(examples, predicted.tolist(), confidence.tolist(), strict=True)
        header = ("key", "label", "prediction", "confidence", "class", "predicted_class")
        lines = (
            (e.key, e.label, label, f"{share:.6f}", names[e.label], names[label])
            for e, label, share in rows
        )
        write_text(self.path / "predictions.csv", csv_text([header, *lines]))

    def predictions(self) -> tuple[list[int], list[int]]:
        """Return (labels, predictions) of the test images.

        Raises:
            AdapterError: The file is not the one of the record.
            RunError: It cannot be read.
        """
        path = self.path / "predictions.csv"
        self._check(path.name)
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
            return [int(row["label"]) for row in rows], [int(row["prediction"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(
                f"{path} cannot be read: {error}.", hint="Train the run again."
            ) from error


def sound_record(folder: Path) -> dict[str, Any] | None:
    """Return record.json of a run's folder; None if it is missing or damaged."""
    try:
        record: dict[str, Any] = read_json(folder / "record.json")
    except RunError:
        return None
    return record


def _validated(kind: type[F], value: Any, path: Path) -> F:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path} does not describe a run: {field or 'its content'}: {first['msg'].lower()}.",
            hint="Restore the file, or remove the folder and train again.",
        ) from error


@functools.cache
def environment(strategy: str) -> dict[str, str]:
    """Return the versions and the machine that a record names, with the package of a plug-in."""
    import torch

    packages = ("fewtune", "torch", "torchvision", "transformers", "numpy", "pillow")
    return {
        **{package: version(package) for package in packages},
        **plugin_version(strategy),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", platform.processor())),
    }


def _task_to_json(task: Task) -> dict[str, Any]:
    support = task.support()
    return {
        "name": task.name,
        "classes": task.classes.names,
        "templates": task.classes.templates,
        "descriptions": task.classes.descriptions,
        "counts": support.classes.counts,
        "words": task.classes.words,
        "notes": task.notes,
        "licence": task.licence,
        "citation": task.citation,
        "images": {split: len(examples) for split, examples in task.splits().items()},
        "drawn": {
            split: [[example.key, example.label] for example in examples]
            for split, examples in (("train", task.train), ("val", task.val))
        },
    }
