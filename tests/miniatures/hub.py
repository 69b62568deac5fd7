"""A web server with the paths of the Hugging Face Hub, which can fail as networks do.

    with serve(folder) as hub:
        hub.url + "/datasets/OWNER/NAME/resolve/main/train/0.tar"

`/resolve/` knows ranges, and says of a large file (.tar, .zip, .gz) which size and SHA-256 it has.
Every other path is a plain file of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import close_session

from miniatures import Form

FORMS: Mapping[str, Form] = {}  # nothing that lies on disk
LARGE = (".tar", ".zip", ".gz")


@dataclass
class FakeHub:
    """What is served, and what goes wrong.

    Attributes:
        folder: Holds `datasets/OWNER/NAME/FILE`.
        cuts: After how many bytes each of the next large files breaks off.
        statuses: Status of each of the next answers that are refused.
        ranges: Whether ranges are understood.
        seen: Path and range of each request for contents.
        asked: Paths of requests for size and checksum alone.
    """

    folder: Path
    url: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    seen: list[tuple[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def connect(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an address the hub, as HF_ENDPOINT does at the start of a process."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    close_session()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[FakeHub]:
    """Serve a folder on this machine until the block ends."""
    hub = FakeHub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError):  # the client has seen enough
                _answer(self, hub)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _answer(request: BaseHTTPRequestHandler, hub: FakeHub) -> None:
    wanted = request.headers.get("Range", "")
    whole = request.command == "GET"
    hub.seen.append((request.path, wanted)) if whole else hub.asked.append(request.path)
    if hub.statuses:
        request.send_error(hub.statuses.pop(0))
        return
    of_hub = "/resolve/main/" in request.path
    path = hub.folder / request.path.replace("/resolve/main/", "/").lstrip("/")
    if not path.is_file():
        request.send_error(404)
        return
    content = path.read_bytes()
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    start = 0
    if wanted and hub.ranges and request.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            request.send_error(416)
            return
    request.send_response(206 if start else 200)
    request.send_header("ETag", etag)
    request.send_header("Content-Length", str(len(content) - start))
    if of_hub and path.suffix in LARGE:
        request.send_header("X-Linked-Size", str(len(content)))
        request.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
    request.end_headers()
    end = len(content)
    if whole and hub.cuts and (path.suffix in LARGE or not of_hub):
        end = min(end, start + hub.cuts.pop(0))
    if whole:
        request.wfile.write(content[start:end])
