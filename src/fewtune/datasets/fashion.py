"""Fashion-MNIST, a sample of it that comes with FewTune: 10 classes, 16 + 100 images each."""

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

TITLE = "Fashion-MNIST (sample)"
LICENCE = "MIT, Copyright (c) 2017 Zalando SE"
CITATION = "Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017"
CLASSES = tuple(
    "t-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
)
ARCHIVE = Path(__file__).parents[1] / "assets" / "sample" / "fashion.zip"


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
    *,
    templates: Sequence[str] | None = None,
    descriptions: Path | None = None,
    archive: Path = ARCHIVE,
) -> Task:
    """Return the sample; its members are `SPLIT/CLASS/INDEX.png`.

    Raises:
        DataError: The archive is missing, damaged or holds other classes.
    """
    try:
        members = [info for info in _open(archive).infolist() if not info.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"The sample data {archive} cannot be read: {error}.",
            hint="Reinstall it: pip install --force-reinstall fewtune",
        ) from error
    rows = []
    for info in members:
        match PurePosixPath(info.filename).parts:
            case (split, name, _) if split in SPLIT_ALIASES and name in CLASSES:
                key, source = info.filename, ZipMember(archive, info.filename)
                rows.append(LabelledRow(SPLIT_ALIASES[split], key, name, source, info.file_size))
    found = {row.class_name for row in rows}
    missing = [name for name in CLASSES if name not in found]
    if missing:
        raise DataError(
            f"The sample data {archive} has no images of {', '.join(missing)}.",
            hint="Reinstall it: pip install --force-reinstall fewtune",
        )
    return to_task(
        LabelTable("sample archive", tuple(rows), CLASSES),
        "fashion",
        templates=templates,
        descriptions=read_descriptions(descriptions, CLASSES) if descriptions else None,
        licence=LICENCE,
        citation=CITATION,
    )


def write_sample(folder: Path) -> Path:
    """Write the images to the new folder `folder` as SPLIT/CLASS/INDEX.png, with their licence.

    Raises:
        ConfigError: `folder` is in use.
        RunError: The disk does not take the files; nothing is left behind.
    """
    return write_folder(folder, lambda place: _open(ARCHIVE).extractall(place))


@functools.lru_cache(maxsize=4)
def _open(archive: Path) -> zipfile.ZipFile:
    """Return the archive, held in memory: a file handle cannot be shared between processes."""
    return zipfile.ZipFile(io.BytesIO(archive.read_bytes()))
