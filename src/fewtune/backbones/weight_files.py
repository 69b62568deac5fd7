"""Weight files on disk: find them in a folder, read them without running code, identify them.

safetensors are preferred. A torch file is read with `weights_only=True` and in no other way, so a
pickle that holds anything but tensors is refused.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from fewtune.core.errors import AdapterError
from fewtune.core.files import load_json

if TYPE_CHECKING:  # files are found and identified without torch
    from torch import Tensor

# In order of preference; an index names the shards of one checkpoint.
TRANSFORMERS_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)


def find_weights(folder: Path, names: Sequence[str] = TRANSFORMERS_WEIGHTS) -> tuple[Path, ...]:
    """Return the files of the first complete set of weights in `folder`, () when there is none."""
    for name in names:
        if (folder / name).is_file():
            files = tuple(folder / file for file in shards(folder / name))
            if all(file.is_file() for file in files):
                return files
    return ()


def shards(path: Path) -> tuple[str, ...]:
    """Return the file names that an index lists; for any other file, its own name.

    Raises:
        AdapterError: `path` is an index that cannot be read.
    """
    if not path.name.endswith(".index.json"):
        return (path.name,)
    try:
        files = set(load_json(path)["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AdapterError(
            f"{path} is not a readable index of weight files ({_one_line(error)}).",
            hint="Download the checkpoint again.",
        ) from error
    return tuple(sorted(Path(str(file)).name for file in files))


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the tensors of all `files` by name, of any shape and type, on the CPU.

    Raises:
        AdapterError: A file is missing, damaged, foreign, or holds more than tensors.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors.update(_read(file))
    return tensors


def read_scalar(files: Sequence[Path], key: str) -> float | None:
    """Return the one-element tensor `key`, reading nothing else where the format allows it."""
    for file in files:
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, framework="pt") as opened:
                    if key in opened.keys():  # noqa: SIM118 (not a mapping)
                        return float(opened.get_tensor(key))
            elif (tensor := _read(file).get(key)) is not None:
                return float(tensor)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise _damaged(file, error) from error
    return None


def digest_files(files: Sequence[Path]) -> str:
    """Return "sha256:" and the first 16 hex digits of the digest of the files' bytes, in order."""
    state = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as opened:
                hashlib.file_digest(opened, lambda: state)
        except OSError as error:
            raise AdapterError(f"Cannot read {file}: {error.strerror or error}.") from error
    return f"sha256:{state.hexdigest()[:16]}"


def _read(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    _refuse_pointer(file)
    if file.suffix == ".safetensors":
        try:
            return dict(load_file(file))
        except (OSError, SafetensorError) as error:
            raise _damaged(file, error) from error
    return _tensors_of(file, _load_pickle(file))


def _load_pickle(file: Path) -> object:
    if _is_torchscript(file):
        raise AdapterError(
            f"{file} is a TorchScript archive (the form of OpenAI's own downloads), which holds "
            "code and is not run.",
            hint="OpenAI's weights are ViT-B32, ViT-B16 and ViT-L14 here. To convert a file that "
            f"you trust: python -c \"import torch; torch.save(torch.jit.load('{file}', "
            "map_location='cpu').state_dict(), 'clip_weights.pt')\"",
        )
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that are not torch's own
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AdapterError(
            f"{file} holds Python objects besides tensors, or is damaged; neither is loaded.",
            hint="Save the state dict alone: torch.save(model.state_dict(), 'weights.pt'), or "
            "better as safetensors.",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError) as error:
        raise _damaged(file, error) from error


def _tensors_of(file: Path, content: object) -> dict[str, Tensor]:
    """Return the state dict in `content`, which may be nested in a training checkpoint."""
    from torch import Tensor

    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise AdapterError(
            f"{file} holds {type(content).__name__}, not a state dict (names and tensors).",
            hint="Save it with torch.save(model.state_dict(), ...).",
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise AdapterError(
                f"{file} is not a state dict: entry {key!r} is {type(value).__name__}, "
                "not a tensor.",
                hint="Save it with torch.save(model.state_dict(), ...).",
            )
    return dict(content)


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, ValueError, LookupError, RuntimeError, zipfile.BadZipFile):
        return False  # no archive, or a damaged one: its reader says how


def _refuse_pointer(file: Path) -> None:
    """Raise for a missing file and for the text stub that git leaves without git-lfs."""
    try:
        with file.open("rb") as opened:
            start = opened.read(40)
    except OSError as error:
        raise AdapterError(f"Cannot read {file}: {error.strerror or error}.") from error
    if start.startswith(b"version https://git-lfs"):
        raise AdapterError(
            f"{file} is a git-lfs pointer, not the weights themselves.",
            hint="Run `git lfs pull` in that folder, or download with `hf download`.",
        )


def _damaged(file: Path, error: Exception) -> AdapterError:
    return AdapterError(
        f"{file} cannot be read as {file.suffix or 'weights'}: {_one_line(error)}.",
        hint="The file is damaged, cut short or of another format; copy or download it again.",
    )


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")
