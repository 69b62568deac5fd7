"""Samples: small tasks that come with FewTune, each a zip file of encoded images."""

import functools
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fewtune.core.errors import DataError
from fewtune.core.files import write_folder
from fewtune.core.task import Task
from fewtune.data.file_names import SPLIT_ALIASES
from fewtune.data.label_table import LabelledRow, LabelTable, to_task
from fewtune.data.text_files import read_descriptions

FOLDER = Path(__file__).parents[1] / "assets" / "sample"


@dataclass(frozen=True)
class SampleArchive:
    """A sample and where it is from; its members are `SPLIT/CLASS/NAME`.

    Attributes:
        summary: One line for lists.
        licence: Of the images.
        classes: In label order.
    """

    name: str
    title: str
    summary: str
    licence: str
    citation: str
    classes: tuple[str, ...]
    archive: Path


CLOTHING = SampleArchive(
    "clothing",
    "Clothing dataset (small), a sample",
    "Photographs of clothing, a sample that comes with FewTune: 10 classes, 16 + 50 images each.",
    "CC0 1.0",
    "Grigorev, Clothing dataset, github.com/alexeygrigorev/clothing-dataset-small, 2020",
    tuple("dress,hat,long-sleeved shirt,coat,pants,shirt,shoes,shorts,skirt,t-shirt".split(",")),
    FOLDER / "clothing.zip",
)
FASHION = SampleArchive(
    "fashion",
    "Fashion-MNIST (sample)",
    "Fashion-MNIST, a sample of it that comes with FewTune: 10 classes, 16 + 100 images each.",
    "MIT, Copyright (c) 2017 Zalando SE",
    "Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017",
    tuple("t-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")),
    FOLDER / "fashion.zip",
)
SAMPLES = {sample.name: sample for sample in (CLOTHING, FASHION)}


@dataclass(frozen=True)
class ZipMember:
    """An image in the archive, read when it is asked for."""

    archive: Path
    name: str

    def read(self) -> bytes:
        """Return the encoded image."""
        return _open(self.archive).read(self.name)

    def __str__(self) -> str:
        return f"{self.archive.name}:{self.name}"


def load(
    sample: SampleArchive,
    *,
    templates: Sequence[str] | None = None,
    descriptions: Path | None = None,
) -> Task:
    """Return the task of a sample.

    Raises:
        DataError: The archive is missing, damaged or holds other classes.
    """
    try:
        members = [info for info in _open(sample.archive).infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The sample data {sample.archive} cannot be read: {error}.",
            hint="Reinstall it: pip install --force-reinstall fewtune",
        ) from error
    rows = []
    for info in members:
        match PurePosixPath(info.filename).parts:
            case (split, name, _) if split in SPLIT_ALIASES and name in sample.classes:
                key, source = info.filename, ZipMember(sample.archive, info.filename)
                rows.append(LabelledRow(SPLIT_ALIASES[split], key, name, source, info.file_size))
    found = {row.class_name for row in rows}
    missing = [name for name in sample.classes if name not in found]
    if missing:
        raise DataError(
            f"The sample data {sample.archive} has no images of {', '.join(missing)}.",
            hint="Reinstall it: pip install --force-reinstall fewtune",
        )
    return to_task(
        LabelTable("sample archive", tuple(rows), sample.classes),
        sample.name,
        templates=templates,
        descriptions=read_descriptions(descriptions, sample.classes) if descriptions else None,
        licence=sample.licence,
        citation=sample.citation,
    )


def write_sample(sample: SampleArchive, folder: Path) -> Path:
    """Write the images to the new folder `folder` as SPLIT/CLASS/NAME, with their licence.

    Raises:
        ConfigError: `folder` is in use.
        RunError: The disk does not take the files; nothing is left behind.
    """
    return write_folder(folder, lambda place: _open(sample.archive).extractall(place))


@functools.lru_cache(maxsize=4)
def _open(archive: Path) -> zipfile.ZipFile:
    """Return the archive, held in memory: a file handle cannot be shared between processes."""
    return zipfile.ZipFile(io.BytesIO(archive.read_bytes()))
