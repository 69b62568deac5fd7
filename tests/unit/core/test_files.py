"""Atomic writes: links, devices, modes, and what dead processes leave."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from fewtune.core.errors import RunError
from fewtune.core.files import write_folder, write_text
from fewtune.training.tensor_files import write_tensors


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "out.csv").write_text("old")
    (tmp_path / "out.csv").symlink_to("store/out.csv")
    write_text(tmp_path / "out.csv", "new")
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "store" / "out.csv").read_text() == "new"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["out.csv"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    seen: list[str] = []
    reader = threading.Thread(target=lambda: seen.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join(timeout=10)
    assert seen == ["through"]
    assert pipe.is_fifo()


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Is a directory"):
        write_text(tmp_path, "text")


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_files_have_the_modes_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "text", "x")
        write_tensors(tmp_path / "adapter.safetensors", {"x": torch.zeros(1)}, {})
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~mask}


def test_what_a_dead_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from fewtune.core.files import temporary_sibling\n"
        "for name, make in (('a.txt', Path.touch), ('b', Path.mkdir)):\n"
        "    context = temporary_sibling(Path(sys.argv[1]) / name)\n"
        "    make(context.__enter__())\n"
        "    globals()[name] = context\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    mine = [f".a.txt.{os.getpid()}-000000.tmp", ".a.txt.tmp", ".c.txt.1-000000.tmp"]
    for name in mine:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == 5
    write_text(tmp_path / "a.txt", "x")
    write_folder(tmp_path / "b", lambda folder: (folder / "x").touch())
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b", *mine}
