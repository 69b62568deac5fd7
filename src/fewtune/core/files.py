"""Atomic writes and canonical JSON: a reader sees what was there or what is new, not both."""

import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fewtune.core.errors import ConfigError, RunError

SEAL = "sha256"
MOST_JSON_BYTES = 1 << 30  # the split of ImageNet-21k has a tenth of it


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary sibling of `path`, then move it into place.

    A link is followed, so that what it points to is replaced; a device or a pipe is written to.

    Raises:
        RunError: The disk is full or the folder is not writable; `path` is as it was.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: nothing can take its place
            _write_through(path, write)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        with temporary_sibling(target) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode
            write(temporary)
            temporary.chmod(mode)  # that of the user's umask, whatever `write` made of it
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}.",
            hint=f"{_way_out(error)}; what was written before is intact.",
        ) from error


def _write_through(path: Path, write: Callable[[Path], object]) -> None:
    """Write to what is no regular file, through a temporary one."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "content"
        write(temporary)
        with temporary.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)


@contextlib.contextmanager
def temporary_sibling(target: Path) -> Iterator[Path]:
    """Yield a path next to `target` that belongs to this process; what is left there is removed."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{_machine()}.tmp")
    try:
        yield temporary
    finally:
        _remove(temporary)


def remove_leftovers(target: Path) -> None:
    """Remove what processes of this machine that are dead have left next to `target`."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.*-{_machine()}.tmp"):
        number = left.name.rpartition("-")[0].rpartition(".")[2]
        if number.isdecimal() and not _is_alive(int(number)):
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:  # another user's process may not be signalled
        return not isinstance(error, ProcessLookupError)
    return True


@functools.cache
def _machine() -> str:
    """Return what tells this machine from others that see the same folder."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    write_atomic(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8 with LF line ends on every system."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, indented, with sorted keys."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with a checksum of itself, which `read_json` checks and takes out."""
    plain = json.loads(json.dumps(value))
    write_json(path, {**plain, SEAL: digest(plain)})


def read_json(path: Path) -> Any:
    """Return the JSON value in `path`.

    Raises:
        RunError: The file is missing, is not JSON, or is not what was written with its checksum.
    """
    try:
        value = load_json(path)
    except FileNotFoundError as error:
        raise RunError(f"{path} does not exist.", hint=_again(path)) from error
    except (OSError, ValueError) as error:
        empty = path.is_file() and not path.stat().st_size
        reason = "it is empty" if empty else error
        raise RunError(
            f"{path} is not a readable JSON file: {reason}.", hint=_again(path)
        ) from error
    seal = value.pop(SEAL, None) if isinstance(value, dict) else None
    if seal is not None and seal != digest(value):
        raise RunError(
            f"{path} is not what was written: it was changed or damaged.", hint=_again(path)
        )
    return value


def _again(path: Path) -> str:
    """Return what to do about a file that FewTune has written and that cannot be read."""
    run = path.name == "spec.json" or (path.parent / "spec.json").is_file()
    command = "its `fewtune fit` or `sweep` command" if run else "the command that made it"
    return f"Restore it, or remove the folder {path.parent} and type {command} again."


def load_json(source: Path | str | bytes) -> Any:
    """Return the JSON value in a file or a text.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not JSON, too deep, or too large to be anything of FewTune's.
    """
    if isinstance(source, Path):
        if source.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"it has more than {MOST_JSON_BYTES >> 20} MiB")
        source = source.read_bytes()
    try:
        return json.loads(source)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def digest(value: Any) -> str:
    """Return the SHA-256 (hex) of the canonical JSON of `value`: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_folder(path: Path, fill: Callable[[Path], object]) -> Path:
    """Let `fill` fill a temporary sibling of `path`, move it into place, and return `path`.

    Raises:
        ConfigError: `path` exists and is not an empty folder; it is not touched.
        RunError: The disk is full or the place is not writable. As with an error of `fill`, nothing
            is left behind.
    """
    refuse_used(path)
    out = Path(os.path.realpath(path.expanduser()))
    remove_leftovers(out)
    try:
        with temporary_sibling(out) as temporary:
            temporary.mkdir(parents=True)
            fill(temporary)
            if out.exists():
                out.rmdir()
            os.replace(temporary, out)
    except (OSError, shutil.Error) as error:
        raise RunError(
            f"Cannot write {out}: {getattr(error, 'strerror', None) or error}.",
            hint=f"{_way_out(error)}.",
        ) from error
    return out


def _way_out(error: Exception) -> str:
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    return "Free some space or choose another folder" if full else "Choose another place"


def refuse_used(path: Path) -> None:
    """Refuse a place that is taken, before work is done for it.

    Raises:
        ConfigError: `path` exists and is not an empty folder.
    """
    out = path.expanduser().absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigError(f"{out} exists already.", hint="Choose a new folder, or remove it first.")
