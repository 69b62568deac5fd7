"""Checkpoints of the hub: from a cache in its real layout, and from a hub on the loopback."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from clip_builders import COMMIT, write_clip
from huggingface_hub import close_session
from transformers import CLIPModel

from fewtune.backbones.checkpoint import describe, load_checkpoint
from fewtune.core.errors import AdapterError
from miniatures.hub import connect

B16 = "openai/clip-vit-base-patch16"


def test_cached_snapshot_needs_no_network(
    cached: Callable[..., Path], tiny_model: CLIPModel
) -> None:
    write_clip(cached(B16), tiny_model)
    checkpoint = load_checkpoint("vit-b16")
    assert (checkpoint.name, checkpoint.revision) == ("ViT-B16", COMMIT)
    facts = describe("ViT-B16")
    assert (facts.available, facts.status, facts.revision) == (True, "cached", COMMIT)
    assert facts.licence == "MIT"


def test_repository_with_only_a_pickle(cached: Callable[..., Path], tiny_model: CLIPModel) -> None:
    folder = write_clip(cached("facebook/metaclip-b32-400m"), tiny_model)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model.state_dict(), folder / "pytorch_model.bin")
    assert load_checkpoint("MetaCLIP-B32-400M").revision == COMMIT
    assert describe("metaclip-b32-400m").logit_scale == pytest.approx(1 / 0.07, rel=1e-4)


def test_snapshot_of_main_is_preferred_unless_incomplete(
    cached: Callable[..., Path], tiny_model: CLIPModel
) -> None:
    write_clip(cached(B16, "a" * 40, main=False), tiny_model)
    main = cached(B16, "b" * 40)
    assert load_checkpoint("ViT-B16").revision == "a" * 40
    write_clip(main, tiny_model)
    assert load_checkpoint("ViT-B16").revision == "b" * 40


def test_not_cached_and_offline_names_file_command_and_way_out(hub_cache: Path) -> None:
    with pytest.raises(AdapterError) as caught:
        load_checkpoint("ViT-B16")
    for part in ("config.json", "model.safetensors", f"hf download {B16}", "--backbone /path"):
        assert part in str(caught.value)
    facts = describe("ViT-B16")
    assert not facts.available
    assert f"hf download {B16}" in facts.status
    assert (facts.parameters, facts.activation) == (149_620_737, None)


def test_only_the_missing_file_is_named(cached: Callable[..., Path], tiny_model: CLIPModel) -> None:
    folder = write_clip(cached("org/model"), tiny_model)
    with pytest.raises(AdapterError, match=r"cache: preprocessor_config\.json missing"):
        load_checkpoint("org/model")
    (folder / "preprocessor_config.json").write_text("{}")
    assert load_checkpoint("org/model").name == "org/model"


def test_file_known_to_be_absent_on_the_hub_is_not_missed(
    cached: Callable[..., Path], tiny_model: CLIPModel
) -> None:
    folder = write_clip(cached("org/model"), tiny_model)
    marks = folder.parents[1] / ".no_exist" / COMMIT
    marks.mkdir(parents=True)
    (marks / "preprocessor_config.json").touch()
    assert load_checkpoint("org/model").revision == COMMIT


def listing(path: str, files: dict[str, bytes]) -> bytes:
    """Return what the hub's API says of a revision: its commit, or the tree of its files."""
    about: object = {"id": "org/model", "sha": COMMIT, "siblings": []}
    if "/tree/" in path:
        about = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
    return json.dumps(about).encode()


@contextmanager
def hub_of(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve one repository, "org/model", as the hub does; yield the address and the requests."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.respond()

        def do_GET(self) -> None:
            self.wfile.write(self.respond() or b"")

        def respond(self) -> bytes | None:
            requests.append(f"{self.command} {self.path}")
            data = files.get(self.path.rpartition("/")[2])
            known = self.path.startswith(("/org/model/resolve/", "/api/models/org/model/"))
            if known and self.path.startswith("/api/"):
                data = listing(self.path, files)
            self.send_response(200 if self.path == "/" or (known and data is not None) else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            if not known:
                self.send_header("X-Error-Code", "RepoNotFound")
            elif data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
            else:
                self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            return data

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def online(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that makes an address the hub."""
    yield lambda address: connect(address, monkeypatch)
    close_session()


def test_download_takes_only_what_is_needed_and_asks_once(
    tmp_path: Path, tiny_model: CLIPModel, online: Callable[[str], None]
) -> None:
    folder = write_clip(tmp_path / "remote", tiny_model)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"preprocessor_config.json": b"{}", "pytorch_model.bin": b"x", "tf_model.h5": b"x"}
    with hub_of(files) as (address, requests):
        online(address)
        assert load_checkpoint("org/model").revision == COMMIT
        fetched = {line.rpartition("/")[2] for line in requests if line.startswith("GET /org/")}
        assert fetched == {
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        }
        requests.clear()
        assert load_checkpoint("org/model").revision == COMMIT
        assert requests == []


def test_a_file_that_the_hub_lacks_is_asked_for_once(
    tmp_path: Path, tiny_model: CLIPModel, online: Callable[[str], None]
) -> None:
    folder = write_clip(tmp_path / "remote", tiny_model)
    with hub_of({path.name: path.read_bytes() for path in folder.iterdir()}) as (address, requests):
        online(address)
        for _ in range(2):
            assert load_checkpoint("org/model").revision == COMMIT
            asked, requests[:] = requests[:], []
        assert asked == []


def test_unknown_repository(online: Callable[[str], None]) -> None:
    with hub_of({}) as (address, _):
        online(address)
        with pytest.raises(AdapterError, match="There is no model 'org/typo' on the hub"):
            load_checkpoint("org/typo")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (b'{"model_type": "siglip"}', "type 'siglip'"),
        (b'{"architecture": "vit"}', "holds no CLIP model"),
    ],
)
def test_other_models_are_refused_before_their_weights_are_fetched(
    online: Callable[[str], None], config: bytes, message: str
) -> None:
    with hub_of({"config.json": config, "model.safetensors": b"x"}) as (address, requests):
        online(address)
        with pytest.raises(AdapterError, match=message):
            load_checkpoint("org/model")
        assert not any("safetensors" in line for line in requests)


def test_unreachable_hub_is_reported_at_once(
    online: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    online("http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(AdapterError, match="the hub cannot be reached"):
        load_checkpoint("ViT-B16")
    assert time.monotonic() - start < 2
    assert capfd.readouterr() == ("", "")
