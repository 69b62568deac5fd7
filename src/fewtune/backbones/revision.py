"""Revision of a backbone that is on this machine, without reading its tensors."""

from fewtune.backbones.config_files import holds_clip_config
from fewtune.backbones.hub_snapshot import cached_snapshot
from fewtune.backbones.model_names import resolve
from fewtune.backbones.weight_files import OPEN_CLIP_WEIGHTS, digest_files, find_weights


def name_and_revision(backbone: str) -> tuple[str, str] | None:
    """Return the canonical name and the revision of a backbone; None if it is not here.

    Raises:
        ConfigError: The name means nothing.
        AdapterError: A file cannot be read.
    """
    source = resolve(backbone)
    path = cached_snapshot(source) if source.kind == "hub" else source.path
    if path is None:
        return None
    if source.kind == "hub":
        return source.name, path.name
    weights = find_weights(path) if holds_clip_config(path) else ()
    files = (path,) if path.is_file() else weights or find_weights(path, OPEN_CLIP_WEIGHTS)[:1]
    return (source.name, digest_files(files)) if files else None
