"""Every parser of foreign files, as a function of bytes, for fuzzing.

A parser returns, or raises an error of FewTune's; anything else is a fault.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from fewtune.backbones import config_files, open_clip_config, weight_files
from fewtune.core.errors import FewTuneError
from fewtune.core.files import read_json
from fewtune.core.toml import read_toml
from fewtune.data.class_names import whole_labels
from fewtune.data.layouts.list_folder import read_list
from fewtune.data.layouts.listing import Listing
from fewtune.data.layouts.split_file import read_split_json
from fewtune.data.text_files import read_class_names, read_descriptions
from fewtune.datasets import tfrecord
from fewtune.datasets.download.archive import unpack
from fewtune.datasets.readers import webdataset
from fewtune.reports import packed_records
from fewtune.reports.study_runs import group, load_runs, refuse_mixed
from fewtune.sweeps.sources import SweepFile
from fewtune.training import disk_cache
from fewtune.training.checkpoints import Checkpoints
from fewtune.training.find_runs import summaries
from fewtune.training.run_folder import RunFolder
from fewtune.training.tracking import JsonLines, Step

GOLDEN = Path(__file__).parent / "golden" / "runs"
CORPUS = Path(__file__).parent / "corpus"


def _run_file(data: bytes, folder: Path) -> None:
    """The first byte says which file of a run the others are."""
    names = ("spec.json", "record.json", "task.json", "plan.json", "predictions.csv",
             "seen.json", "metrics.jsonl", "backbone.json")  # fmt: skip
    name = names[data[0] % len(names)] if data else names[0]
    for path in _golden().iterdir():
        if path.suffix in (".json", ".csv", ".jsonl"):
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(data[1:])
    run = RunFolder(folder)
    reads: tuple[Callable[[], object], ...] = (
        run.spec, run.plan, run.record, run.classes, run.drawn_keys, run.predictions,
        run.backbone_path, lambda: group(load_runs([folder])[0]),
        lambda: refuse_mixed(load_runs([folder])[0]), lambda: _summaries(folder.parent),
    )  # fmt: skip
    for read in reads:
        with contextlib.suppress(FewTuneError):
            read()
    log = JsonLines()
    log.start(folder, {})
    log.log(Step("tune", 2, 4, 0.5, 0.1, 1.0))


def _golden() -> Path:
    return next(GOLDEN.glob("clip-lora-*"))


def _summaries(folder: Path) -> None:
    list(summaries(folder))


def _table(suffix: str) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / f"table{suffix}"
        path.write_bytes(data)
        if Listing().detect(path):
            whole_labels(list(Listing().read(path).rows))

    return read


def _file(name: str, parse: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def read(data: bytes, folder: Path) -> None:
        (folder / name).write_bytes(data)
        parse(folder / name)

    return read


def _tfrecord(path: Path) -> None:
    data = tfrecord.map_file(path)
    with contextlib.suppress(FewTuneError):  # the contents, without their checksums
        tfrecord.read_record(data, tfrecord.Span(0, len(data)), path)
    for span in tfrecord.locate_records(data, path):
        tfrecord.read_record(data, span, path)


def _shard(path: Path) -> None:
    webdataset._samples(path, tfrecord.map_file(path))


def _archive(path: Path) -> None:
    unpack(path, path.parent / "out", path.parent / "work")


def _packed(path: Path) -> None:
    with packed_records.opened([path]) as folders:
        group(load_runs(folders)[0])


def _weights(path: Path) -> None:
    with contextlib.suppress(FewTuneError):
        Checkpoints(path).phase()
    disk_cache._about(path)
    with contextlib.suppress(FewTuneError):
        weight_files.read_scalar([path], "x")
    weight_files.read_weights([path])


def _sweep(path: Path) -> None:
    file = SweepFile.of(path)
    file.shared()


def _extras(path: Path) -> None:
    open_clip_config.read_extras(path.parent / "weights", {})


def _preprocess(path: Path) -> None:
    with contextlib.suppress(FewTuneError):
        config_files.holds_clip_config(path.parent)
    config_files.read_preprocess(path.parent, 32)


def _descriptions(path: Path) -> None:
    read_descriptions(path, ["cat", "dog"])


PARSERS: dict[str, Callable[[bytes, Path], object]] = {
    "run": _run_file,
    "json": _file("value.json", read_json),
    "split": _file("split.json", read_split_json),
    "csv": _table(".csv"),
    "tsv": _table(".tsv"),
    "jsonl": _table(".jsonl"),
    "list": _file("train.txt", lambda path: read_list(path, "train")),
    "classnames": _file("classnames.txt", read_class_names),
    "descriptions": _file("texts.json", _descriptions),
    "descriptions-csv": _file("texts.csv", _descriptions),
    "toml": _file("some.toml", read_toml),
    "sweep": _file("sweep.toml", _sweep),
    "tfrecord": _file("a.tfrecord", _tfrecord),
    "shard": _file("0.tar", _shard),
    "tar": _file("a.tar", _archive),
    "zip": _file("a.zip", _archive),
    "gz": _file("a.tar.gz", _archive),
    "packed": _file("a.tar.xz", _packed),
    "weights": _file("a.safetensors", _weights),
    "pickle": _file("a.pt", lambda path: weight_files.read_weights([path])),
    "open-clip": _file("open_clip_config.json", _extras),
    "sidecar": _file("weights.json", _extras),
    "preprocess": _file("preprocessor_config.json", _preprocess),
}


def parse(name: str, data: bytes, folder: Path) -> None:
    """Let a parser read bytes in an empty folder; what it may not raise goes through."""
    outside = set(folder.parent.iterdir())
    with contextlib.suppress(FewTuneError):
        PARSERS[name](data, folder)
    assert set(folder.parent.iterdir()) == outside, "something was written outside"
