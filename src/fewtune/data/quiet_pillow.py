"""Pillow without words on the terminal about damaged files, which are reported by name."""

import contextlib
import ctypes
import functools
import logging
import warnings


def silence_pillow() -> None:
    """Silence Pillow's warnings about size and metadata; `decode` checks what matters.

    Filters are process-wide, and `catch_warnings` is not thread-safe. They are set again if other
    code has restored its own.
    """
    from PIL import Image as pillow

    _silence_libraries()
    categories = (pillow.DecompressionBombWarning, UserWarning, DeprecationWarning)
    for category in categories:
        known = any(
            entry[0] == "ignore" and entry[2] is category and "PIL" in str(entry[3])
            for entry in warnings.filters[: len(categories)]
        )
        if not known:
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")


@functools.cache
def _silence_libraries() -> None:
    """Keep Pillow and its libtiff from printing what a damaged file lacks."""
    from PIL import _imaging

    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(AttributeError, OSError):  # linked in another way
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)
