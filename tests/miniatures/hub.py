"""A web server with the paths of the Hugging Face Hub, which can fail as networks do.

    with serve(folder) as hub:
        hub.url + "/datasets/OWNER/NAME/resolve/main/train/0.tar"

`/raw/` of a large file (.tar, .zip, .gz) is a Git LFS pointer; `/resolve/` knows ranges. Every
other path is a plain file of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from miniatures import Form

FORMS: Mapping[str, Form] = {}  # nothing that lies on disk
LARGE = (".tar", ".zip", ".gz")


@dataclass
class FakeHub:
    """What is served, and what goes wrong.

    Attributes:
        folder: Holds `datasets/OWNER/NAME/FILE`.
        cuts: After how many bytes each of the next answers from `/resolve/` breaks off.
        statuses: Status of each of the next answers that are refused.
        ranges: Whether ranges are understood.
        seen: Path and range of each request.
    """

    folder: Path
    url: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    seen: list[tuple[str, str]] = field(default_factory=list)


def pointer(content: bytes) -> bytes:
    """Return what Git LFS stores in the place of a large file."""
    digest = hashlib.sha256(content).hexdigest()
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
    ).encode()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[FakeHub]:
    """Serve a folder on this machine until the block ends."""
    hub = FakeHub(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(BrokenPipeError):  # the client has seen enough
                _answer(self, hub)

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
    hub.seen.append((request.path, wanted))
    if hub.statuses:
        request.send_error(hub.statuses.pop(0))
        return
    kind = next((k for k in ("raw", "resolve") if f"/{k}/main/" in request.path), "")
    path = hub.folder / request.path.replace(f"/{kind}/main/", "/").lstrip("/")
    if not path.is_file():
        request.send_error(404)
        return
    content = path.read_bytes()
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    if kind == "raw" and path.suffix in LARGE:
        content = pointer(content)
    start = 0
    if wanted and hub.ranges and request.headers.get("If-Range", etag) == etag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            request.send_error(416)
            return
    request.send_response(206 if start else 200)
    request.send_header("ETag", etag)
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    end = len(content)
    if kind != "raw" and hub.cuts:
        end = min(end, start + hub.cuts.pop(0))
    request.wfile.write(content[start:end])
