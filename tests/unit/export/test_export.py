"""Exports give the live model's logits to programs that know nothing of FewTune, or are refused."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from exported_runs import TASK, printed_by, tuned_run
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewtune.backbones import clip
from fewtune.backbones.config_files import processor_settings
from fewtune.core.discovery import strategy_names
from fewtune.core.errors import AdapterError, ConfigError, RunError
from fewtune.core.task import Example
from fewtune.exports import FORMATS, export_run, merged, require_equal
from fewtune.exports.parity_probe import Probe, probe_images
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head
from fewtune.testing import tiny_clip_folder
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.named_recipes import configure
from fewtune.training.run import train
from fewtune.training.tracking import Tracker

BASE = "base_model.model."


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip", blocks=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def live(folder: Path) -> Tensor:
    tuned = load_run(folder, "cpu")
    return tuned.scores(Probe.make(tuned.head.model.preprocess).examples)


def class_matrix(net: Any, model: DualEncoder) -> Tensor:
    """Class embeddings of the tiny task by transformers, written out here once more."""
    ids, _ = model.tokenize(["a photo of red.", "a photo of green.", "a photo of blue."])
    return F.normalize(net.text_projection(net.text_model(ids).pooler_output), dim=-1)


def plain(net: Any, model: DualEncoder, classes: Tensor | None = None) -> Tensor:
    """Logits of the probe images by plain transformers."""
    pixels = Probe.make(model.preprocess).pixels
    with torch.no_grad():
        z = F.normalize(net.visual_projection(net.vision_model(pixels).pooler_output), dim=-1)
        w = class_matrix(net, model) if classes is None else classes
        return net.logit_scale.exp() * z @ w.T


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() <= 1e-5 * wanted.abs().max())


def load_plain(folder: Path) -> Any:
    from transformers import CLIPModel

    with merged.quiet():
        return CLIPModel.from_pretrained(folder).eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"matrices": "qkvo", "rank": 3, "alpha": 5.0}, {"encoder": "vision", "position": "up"}],
    ids=["default", "all-matrices", "vision-up"],
)
def test_lora_is_merged_as_w_plus_s_b_a(
    options: dict[str, Any], backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run("clip-lora", backbone, runs, **options)
    out = export_run(folder, "hf", tmp_path / "out")
    original, found = (
        load_file(backbone / "model.safetensors"),
        load_file(out / "model.safetensors"),
    )
    adapter = load_file(folder / "adapter.safetensors")
    scale = options.get("alpha", 1.0) / math.sqrt(options.get("rank", 2))
    changed = set()
    for name, weight in original.items():
        layer = f"model.{name.removesuffix('.weight')}"
        if f"{layer}.A" in adapter:
            changed.add(f"{layer}.A")
            weight = weight + scale * adapter[f"{layer}.B"] @ adapter[f"{layer}.A"]
            assert not torch.equal(found[name], original[name])
        torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    assert changed == {name for name in adapter if name.endswith(".A")}
    assert close(plain(load_plain(out), clip.load(str(backbone))), live(folder))


def test_clipfit_writes_exactly_its_biases_and_norms(
    backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run("clipfit", backbone, runs)
    out = export_run(folder, "hf", tmp_path / "out")
    original, found = (
        load_file(backbone / "model.safetensors"),
        load_file(out / "model.safetensors"),
    )
    adapter = {
        name.removeprefix("model."): value
        for name, value in load_file(folder / "adapter.safetensors").items()
    }
    assert adapter.keys() < original.keys()
    for name, value in found.items():
        assert torch.equal(value, adapter.get(name, original[name])), name
    assert any(not torch.equal(adapter[name], original[name]) for name in adapter)
    assert close(plain(load_plain(out), clip.load(str(backbone))), live(folder))


def test_zero_shot_is_the_backbone(backbone: Path, runs: Path, tmp_path: Path) -> None:
    out = export_run(tuned_run("zero-shot", backbone, runs), "hf", tmp_path / "out")
    original, found = (
        load_file(backbone / "model.safetensors"),
        load_file(out / "model.safetensors"),
    )
    assert all(torch.equal(found[name], value) for name, value in original.items())


# PEFT asks transformers for an attribute under its old name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("options", [{}, {"matrices": "vo", "rank": 3, "position": "half-up"}])
def test_peft_loads_the_adapter(
    options: dict[str, Any], backbone: Path, runs: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    folder = tuned_run("clip-lora", backbone, runs, **options)
    out = export_run(folder, "peft", tmp_path / "out")
    net = load_plain(backbone)
    peft_model = PeftModel.from_pretrained(net, str(out)).eval()
    wanted = live(folder)
    assert close(plain(peft_model, clip.load(str(backbone))), wanted)
    assert not close(plain(load_plain(backbone), clip.load(str(backbone))), wanted)
    weights = load_file(out / "adapter_model.safetensors")
    adapted = {
        n.removesuffix(".A") for n in load_file(folder / "adapter.safetensors") if n[-1] == "A"
    }
    places = {f"{BASE}{n.removeprefix('model.')}.lora_{m}.weight" for n in adapted for m in "AB"}
    assert weights.keys() == places
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(backbone)
    assert config["revision"].startswith("sha256:")
    assert (config["task_type"], config["use_rslora"]) == (None, True)
    assert config["lora_alpha"] == 1.0


def can_be_expressed(folder: Path) -> dict[str, bool]:
    """Whether images go through plain weights of the backbone, changed by low-rank updates."""
    head = load_run(folder, "cpu").head
    saved = [name for name in head.saved() if name.startswith("model.")]
    rules = ("image", "forward")
    own = any(getattr(type(head), rule) is not getattr(Head, rule) for rule in rules)
    weights = not (own or head.conditional or any(head.model.image.hooks.values()))
    low_rank = bool(saved) and all(name.endswith((".A", ".B")) for name in saved)
    return {"hf": weights, "peft": weights and low_rank, "onnx": not head.conditional}


@pytest.mark.parametrize("strategy", sorted(strategy_names()))
@pytest.mark.parametrize("to", sorted(FORMATS))
def test_every_strategy_exports_or_says_why_not(
    strategy: str, to: str, backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run(strategy, backbone, runs)
    out = tmp_path / "out"
    if can_be_expressed(folder)[to]:
        assert (export_run(folder, to, out) / "README.md").is_file()
        return
    with pytest.raises(AdapterError, match=strategy) as caught:
        export_run(folder, to, out)
    assert "--to onnx" in caught.value.hint or "--to hf" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("strategy", "to"), [("clip-lora", "hf"), ("clip-lora", "peft"), ("clipfit", "hf")]
)
def test_a_linear_head_goes_along(
    strategy: str, to: str, backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run(strategy, backbone, runs, type="vision")
    out = export_run(folder, to, tmp_path / "out")
    assert load_file(out / "classes.safetensors").keys() == {"weight", "bias"}
    assert json.loads((out / "classes.json").read_text()) == {"names": ["red", "green", "blue"]}


def test_the_folder_is_a_backbone_again(backbone: Path, runs: Path, tmp_path: Path) -> None:
    folder = tuned_run("clip-lora", backbone, runs, resize="squash")
    model = clip.load(str(export_run(folder, "hf", tmp_path / "out")))
    assert model.preprocess == load_run(folder, "cpu").head.model.preprocess
    assert model.preprocess.policy == "squash"


def test_several_prompts_of_a_class_are_averaged(
    backbone: Path, runs: Path, tmp_path: Path
) -> None:
    templates = ("a photo of {}.", "a drawing of {}.", "{}")
    task = replace(TASK, classes=replace(TASK.classes, templates=templates))
    strategy, recipe = configure("clip-lora", {"lr": 0.05, "length": 1, "length_unit": "steps"})
    job = Job.of(strategy, task, str(backbone), recipe, precision="fp32", runs=runs, device="cpu")
    folder = train(job, Tracker())
    out = export_run(folder, "hf", tmp_path / "out")
    classes = load_file(out / "classes.safetensors")["embeddings"]
    torch.testing.assert_close(classes.norm(dim=-1), torch.ones(3))
    assert close(plain(load_plain(out), clip.load(str(backbone)), classes), live(folder))
    stored = json.loads((out / "classes.json").read_text())
    assert stored["prompts"]["green"] == ["a photo of green.", "a drawing of green.", "green"]


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_the_code_of_the_card_classifies(
    to: str, backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tuned_run("clip-lora", backbone, runs)
    out = export_run(folder, to, tmp_path / "out")
    card = (out / "README.md").read_text()
    code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(code) == 1
    picture = Image.effect_mandelbrot((32, 32), (-3, -2.5, 2, 2.5), 100).convert("RGB")
    picture.save(out / "image.jpg", quality=95)
    shares = json.loads(printed_by(code[0], out, monkeypatch).strip("[]\n").replace("'", '"'))
    example = Example("image", 0, out / "image.jpg")
    wanted = load_run(folder, "cpu").scores([example]).softmax(1)[0]
    assert list(shares) == ["red", "green", "blue"]
    torch.testing.assert_close(torch.tensor(list(shares.values())), wanted, rtol=0, atol=1e-3)


def test_a_corrupted_merge_is_refused(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nudged(self: DualEncoder) -> None:
        merge(self)
        with torch.no_grad():
            self.net.get_parameter("visual_projection.weight")[0] *= 1.05

    merge = DualEncoder.merge
    monkeypatch.setattr(DualEncoder, "merge", nudged)
    with pytest.raises(AdapterError, match="refused"):
        export_run(tuned_run("clip-lora", backbone, runs), "hf", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_corrupted_adapter_is_refused(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(path: Path, tensors: dict[str, Tensor], meta: dict[str, str]) -> None:
        for name, value in tensors.items():
            if name.endswith("lora_B.weight"):
                value *= 1.1
        save_file(tensors, path, meta)

    monkeypatch.setattr("fewtune.exports.peft_format.write_tensors", torn)
    with pytest.raises(AdapterError, match="refused"):
        export_run(tuned_run("clip-lora", backbone, runs), "peft", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mean", [[0.4, 0.5, 0.5], [0.501, 0.5, 0.5]])
def test_another_image_processor_is_refused(
    mean: list[float], backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        merged, "processor_settings", lambda p: processor_settings(p) | {"image_mean": mean}
    )
    with pytest.raises(AdapterError, match="other pixels"):
        export_run(tuned_run("clip-lora", backbone, runs), "hf", tmp_path / "out")


@pytest.mark.parametrize("value", [1.001, math.nan])
def test_the_comparison_sees_small_and_undefined_differences(value: float) -> None:
    wanted = torch.ones(2, 3)
    require_equal(wanted * 1.00001, wanted)
    found = wanted.clone()
    found[1, 2] = value
    with pytest.raises(AdapterError, match="differ"):
        require_equal(found, wanted)


def test_given_images_are_compared_too(
    backbone: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "own.png"
    probe_images()[0].save(image)
    preprocess = clip.load(str(backbone)).preprocess
    assert len(Probe.make(preprocess, [image]).files) == len(Probe.make(preprocess).files) + 1
    (tmp_path / "bad.png").write_bytes(b"nothing")
    folder = tuned_run("clip-lora", backbone, runs)
    assert export_run(folder, "hf", tmp_path / "out", [image]).is_dir()
    with pytest.raises(Exception, match=r"bad\.png"):
        export_run(folder, "hf", tmp_path / "other", [tmp_path / "bad.png"])


def test_an_empty_folder_is_filled_and_a_full_one_refused(
    backbone: Path, runs: Path, tmp_path: Path
) -> None:
    folder = tuned_run("clip-lora", backbone, runs)
    out = tmp_path / "out"
    out.mkdir()
    export_run(folder, "peft", out)
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(ConfigError, match="exists already"):
        export_run(folder, "hf", out)
    assert sorted(path.name for path in out.iterdir()) == before
    assert oct(out.stat().st_mode & 0o777) == oct(0o777 & ~current_umask())


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_disk_that_takes_nothing_is_said(backbone: Path, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"):
        export_run(tuned_run("clip-lora", backbone, runs), "hf", tmp_path / "file" / "out")


def test_wrong_names_are_answered(backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'peft'"):
        export_run(tmp_path, "pefft", tmp_path / "out")
    with pytest.raises(RunError, match="not a run folder"):
        export_run(backbone, "hf", tmp_path / "out")
