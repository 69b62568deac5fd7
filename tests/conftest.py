"""What holds for every test: no network, no terminal colours, one thread, a cache of its own."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import IO, Any

import hypothesis
import pytest

# Set before any test module imports torch, transformers or matplotlib; child processes inherit it.
SCRATCH = tempfile.mkdtemp(prefix="fewtune-tests-")
os.environ |= {
    "FEWTUNE_CACHE": os.path.join(SCRATCH, "cache"),
    "HF_HOME": os.path.join(SCRATCH, "huggingface"),
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "Agg",
    "MPLCONFIGDIR": os.path.join(SCRATCH, "matplotlib"),
    "NO_COLOR": "1",
    "COLUMNS": "100",
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "offline",
}
for name in ("FORCE_COLOR", "HF_TOKEN", "WANDB_API_KEY"):
    os.environ.pop(name, None)

LOOPBACK = ("127.", "::1", "localhost")
_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ci")


def _refuse_remote(family: int, address: Any) -> None:
    if family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
        raise RuntimeError(f"Tests are offline; something tried to connect to {address}.")


def _guarded_connect(self: socket.socket, address: Any) -> None:
    _refuse_remote(self.family, address)
    _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    _refuse_remote(self.family, address)
    return _connect_ex(self, address)


def pytest_configure() -> None:
    """Block the network for this process."""
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = _guarded_connect_ex  # type: ignore[method-assign]


def pytest_unconfigure() -> None:
    """Restore the network and remove the scratch folder."""
    socket.socket.connect = _connect  # type: ignore[method-assign]
    socket.socket.connect_ex = _connect_ex  # type: ignore[method-assign]
    shutil.rmtree(SCRATCH, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_leaked_figures() -> Any:
    """Close figures that a test drew, so that matplotlib's warning about many is never an error."""
    yield
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def empty_pdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write nothing into PDFs: the fonts that they hold take most of a figure's time."""
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def save(figure: Figure, file: IO[Any], format: str, **options: Any) -> None:
        if format != "pdf":
            draw(figure, file, format=format, **options)

    monkeypatch.setattr(Figure, "savefig", save)
