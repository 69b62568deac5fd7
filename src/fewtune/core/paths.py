"""Where FewTune keeps what it can compute or download again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder: `$FEWTUNE_CACHE`, else `$XDG_CACHE_HOME/fewtune`, else `~/.cache`.

    The folder need not exist; whoever writes there creates it.
    """
    own = os.environ.get("FEWTUNE_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says to ignore a relative path.
    home = Path(base) if os.path.isabs(base) else Path("~/.cache").expanduser()
    return home / "fewtune"


def data_dir() -> Path:
    """Return where datasets are looked for and downloaded to: `$FEWTUNE_DATA`, else in the cache.

    The folder need not exist; whoever writes there creates it.
    """
    own = os.environ.get("FEWTUNE_DATA")
    return Path(own).expanduser().absolute() if own else cache_dir() / "data"
