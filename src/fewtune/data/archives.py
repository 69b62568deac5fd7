"""Archives and URLs given in the place of images: what to type to get a folder of them."""

import shlex
from pathlib import Path

from fewtune.core.errors import DataError

# Unpacking command of each kind, given the archive and the new folder.
_UNPACK = {
    ".zip": "unzip {archive} -d {folder}",
    ".rar": "unrar x {archive} {folder}/",
    ".7z": "7z x {archive} -o{folder}",
    **dict.fromkeys(
        (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst"),
        "mkdir {folder} && tar xf {archive} -C {folder}",
    ),
}


def refuse_packed(data: str) -> None:
    """Refuse a URL, or an archive of images that is not unpacked.

    Raises:
        DataError: With the commands that make a folder of it.
    """
    is_url = "://" in data
    archive = data.partition("?")[0].rstrip("/").rpartition("/")[2] if is_url else data
    suffix = next((s for s in _UNPACK if archive.lower().endswith(s)), "")
    folder = archive[: len(archive) - len(suffix)]
    words = {"archive": shlex.quote(archive), "folder": shlex.quote(folder)}
    if is_url:
        web = data.lower().startswith(("http", "ftp"))
        steps = [f"curl -LO {shlex.quote(data)}"] if web else []
        steps += [_UNPACK[suffix].format(**words)] if suffix else []
        how = f": {' && '.join(steps)}. Then" if steps else ", then"
        raise DataError(
            f"{data} is a URL; images are read from this machine.",
            hint=f"Download it first{how}: --data {words['folder'] if suffix else 'DIR'}",
        )
    if not suffix or not Path(data).expanduser().is_file():
        return
    if Path(folder).expanduser().is_dir():
        hint = f"It seems to be unpacked already: try --data {words['folder']}"
    else:
        hint = f"Unpack it: {_UNPACK[suffix].format(**words)}. Then: --data {words['folder']}"
    raise DataError(f"{data} is an archive; images are read from a folder.", hint=hint)
