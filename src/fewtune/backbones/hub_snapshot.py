"""Checkpoints of the Hugging Face hub: the cached snapshot, or else a download.

A complete snapshot in the cache is used as it is, without a request to the network: the same name
means the same weights tomorrow, and a run records the commit. Only the files that a backbone needs
are downloaded, all of one commit.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fewtune.backbones.config_files import (
    OPEN_CLIP_CONFIG,
    PREPROCESSOR_FILES,
    SMALL_FILES,
    holds_clip_config,
)
from fewtune.backbones.model_names import CATALOG, BackboneSource
from fewtune.backbones.weight_files import (
    OPEN_CLIP_WEIGHTS,
    TRANSFORMERS_WEIGHTS,
    find_weights,
    shards,
)
from fewtune.core.errors import AdapterError

PROBE_TIMEOUT_S = 10.0


def cached_snapshot(source: BackboneSource) -> Path | None:
    """Return the folder of a complete cached snapshot, the one that "main" names if possible."""
    repo = _cache_folder(source)
    try:
        main = (repo / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        main = ""
    snapshots = [path for path in (repo / "snapshots").glob("*") if path.is_dir()]
    snapshots.sort(key=lambda path: (path.name != main, -path.stat().st_mtime))
    for folder in snapshots:
        if not missing_files(folder, source, repo / ".no_exist" / folder.name):
            return folder
    return None


def missing_files(folder: Path, source: BackboneSource, known_absent: Path = Path()) -> list[str]:
    """Return what a backbone still needs in `folder`; `known_absent` marks what the hub lacks.

    The catalog's checkpoints all use CLIP's own preprocessing, so they do without that file.
    """
    if (folder / OPEN_CLIP_CONFIG).is_file() and find_weights(folder, OPEN_CLIP_WEIGHTS):
        return []
    missing = [] if holds_clip_config(folder) else ["config.json"]
    if not find_weights(folder):
        missing.append("model.safetensors or pytorch_model.bin")
    absent = any((known_absent / name).is_file() for name in PREPROCESSOR_FILES)
    found = any((folder / name).is_file() for name in PREPROCESSOR_FILES)
    if not (found or absent or source in CATALOG):
        missing.append("preprocessor_config.json")
    return missing


def snapshot(source: BackboneSource) -> Path:
    """Return the folder that holds one commit of a hub checkpoint; its name is the commit.

    Raises:
        AdapterError: It is neither cached nor to be had from the hub.
    """
    folder = cached_snapshot(source)
    if folder is not None:
        return folder
    from huggingface_hub import constants, get_session

    from fewtune.backbones.tokenizer import quiet_log

    # Progress bars stay.
    with quiet_log("huggingface_hub", logging.ERROR), _explained(source):
        # Without this, a hub that cannot be reached shows after a minute of retries.
        get_session().head(constants.ENDPOINT, timeout=PROBE_TIMEOUT_S)
        return _download(source)


def download_command(source: BackboneSource) -> str:
    """Return the command that fetches the checkpoint into the cache."""
    return f'hf download {source.repo} --exclude "*.h5" --exclude "*.msgpack"'


def _cache_folder(source: BackboneSource) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / ("models--" + source.repo.replace("/", "--"))


def _download(source: BackboneSource) -> Path:
    """Fetch what says which model it is, then its weights."""
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    def fetch(revision: str, *names: str) -> Path:
        return Path(snapshot_download(source.repo, revision=revision, allow_patterns=[*names]))

    folder = fetch("main", *SMALL_FILES)
    of_transformers = TRANSFORMERS_WEIGHTS if holds_clip_config(folder) else ()
    if not of_transformers and not (folder / OPEN_CLIP_CONFIG).is_file():
        raise AdapterError(
            f"'{source.repo}' on the hub holds no CLIP model: it has neither a CLIP "
            f"config.json nor {OPEN_CLIP_CONFIG}.",
            hint="Only checkpoints of the CLIP family are supported.",
        )
    if not any((folder / name).is_file() for name in PREPROCESSOR_FILES):
        # Asked for alone, an absent file leaves a mark in the cache, by which `missing_files` goes.
        with suppress(RemoteEntryNotFoundError):
            hf_hub_download(source.repo, PREPROCESSOR_FILES[0], revision=folder.name)
    published = HfApi().list_repo_files(source.repo, revision=folder.name)
    readable = (*of_transformers, *OPEN_CLIP_WEIGHTS)
    weights = next((name for name in readable if name in published), None)
    if weights is None:
        raise AdapterError(
            f"'{source.repo}' on the hub holds no weights that can be read: none of "
            f"{', '.join(readable)}.",
            hint="Convert them to safetensors and pass the local folder.",
        )
    fetch(folder.name, weights)
    parts = shards(folder / weights)
    return folder if parts == (weights,) else fetch(folder.name, *parts)


@contextmanager
def _explained(source: BackboneSource) -> Iterator[None]:
    """Say in FewTune's words why a checkpoint cannot be fetched."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        yield
    except AdapterError:
        raise
    except GatedRepoError as error:
        raise AdapterError(
            f"'{source.repo}' is gated on the hub.",
            hint=f"Accept its terms at https://huggingface.co/{source.repo}, then run "
            "`hf auth login`.",
        ) from error
    except RepositoryNotFoundError as error:
        raise AdapterError(
            f"There is no model '{source.repo}' on the hub, nor a local folder of that name.",
            hint="Check the spelling; for a private model run `hf auth login`.",
        ) from error
    # The HTTP library below huggingface_hub, and so its errors, differ between versions.
    except Exception as error:
        raise _unreachable(source, error) from error


def _unreachable(source: BackboneSource, error: Exception) -> AdapterError:
    from huggingface_hub import constants

    repo = _cache_folder(source)
    lists = [missing_files(folder, source) for folder in sorted((repo / "snapshots").glob("*"))]
    missing = min(lists, key=len, default=missing_files(repo, source))
    label = source.repo if source.name == source.repo else f"{source.name} ({source.repo})"
    why = "HF_HUB_OFFLINE is set" if constants.is_offline_mode() else "the hub cannot be reached"
    detail = str(error).strip().splitlines()[0] if why.startswith("the") and str(error) else ""
    return AdapterError(
        f"Backbone {label} is not complete in the local cache: {' and '.join(missing)} missing, "
        f"and {why}{f' ({detail})' if detail else ''}.",
        hint=f"On a machine with network, run `{download_command(source)}`, or point to a local "
        "folder that holds the files: --backbone /path/to/folder. The small model that comes with "
        "FewTune needs no network: --backbone photo.",
    )
