"""Runs, alone and in stacks, never hold more than --memory allows, from tight budgets to roomy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Each run is a fork of one process that has imported everything: a peak of its own, in a second.
CHILD = """
import json, os, sys
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo
import torchmetrics.functional.classification
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from fewtune.model.load_strategy import load_strategy
from fewtune.core.errors import ConfigError
from fewtune.training.vmapped.vmapped_runs import run_vmapped
from fewtune.training.job import Job
from fewtune.training.memory.memory_probe import peak_mib
from fewtune.training.run import run
from fewtune.training.tracking import Tracker
from fewtune.testing import tiny_clip_folder, tiny_task

torch.set_num_threads(1)
folder = tiny_clip_folder(Path(sys.argv[1]) / "clip")
config = CLIPConfig.from_pretrained(folder)
for tower in (config.text_config, config.vision_config):
    tower.hidden_size, tower.intermediate_size, tower.num_hidden_layers = 192, 768, 6
    tower.projection_dim = 1024
config.projection_dim = 1024
config.vision_config.image_size, config.vision_config.patch_size = 96, 8
save_file({k: v.contiguous() for k, v in CLIPModel(config).state_dict().items()},
          folder / "model.safetensors", {"format": "pt"})
config.save_pretrained(folder)
(folder / "preprocessor_config.json").write_text(
    (folder / "preprocessor_config.json").read_text().replace("32", "96"))
task = tiny_task(classes=6, train=8)
words = tuple(f"a photo of a {{}} number {i}." for i in range(12))
task = replace(task, classes=replace(task.classes, templates=words))


def jobs(name, budget):  # one, or eight that can be trained in one stack
    kind = load_strategy(name)
    changes = {"batch_size": 32, "length": 2, "length_unit": "steps"}
    stack = name == "clip-adapter"
    recipes = [kind.recipe.model_copy(update={**changes, "lr": lr})
               for lr in ((1e-4, 2e-4, 3e-4, 4e-4) if stack else (kind.recipe.lr,))]
    runs = Path(sys.argv[1]) / f"{name}-{budget}"
    return [Job.of(kind(reduction=1) if stack else kind(), task, str(folder), recipe, device="cpu",
                precision="fp32", threads=1, runs=runs, cache_dir=runs / "cache",
                memory_mib=budget, shots=2 if stack else None, seed=seed)
            for recipe in recipes for seed in ((1, 2) if stack else (0,))]


def attempt(name, budget):
    asked = jobs(name, budget)
    try:
        run_one = len(asked) == 1
        results = [run(asked[0], Tracker())] if run_one else run_vmapped(asked, Tracker())
        record = results[-1].record
        return {"plan": record["plan"], "top1": record["metrics"]["top1"],
                "at_once": record["cost"].get("runs_at_once", 1)}
    except ConfigError as error:
        return {"hint": error.hint}


def forked(name, budget):
    read, write = os.pipe()
    if os.fork() == 0:
        found = attempt(name, budget)
        os.write(write, json.dumps({**found, "peak": peak_mib(torch.device("cpu"))}).encode())
        os._exit(0)
    os.wait()
    return {"budget": budget, **json.loads(os.read(read, 65536))}


for name in sys.argv[2:]:
    refused = forked(name, 64)
    smallest = int(refused["hint"].split("--memory ")[1].split("MiB")[0])
    more = (0, 4000) if name == "clip-adapter" else (0, 140, 4000)
    rows = [forked(name, smallest + each) for each in more]
    print(json.dumps(rows), flush=True)
"""


@pytest.mark.timeout(300)
def test_no_run_holds_more_than_its_budget(tmp_path: Path) -> None:
    names = ("clip-lora", "vpt-deep", "clip-adapter")
    command = [sys.executable, "-c", CHILD, str(tmp_path), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        rows = json.loads(line)
        for row in rows:
            assert "plan" in row, row
            assert row["peak"] <= row["budget"], row
            assert row["top1"] == rows[0]["top1"]
        if name == "clip-adapter":
            assert rows[0]["at_once"] < rows[1]["at_once"] == 8
            continue
        tight, roomy = rows[0]["plan"], rows[-1]["plan"]
        assert tight["micro_batch"] or tight["text_chunk"]
        assert not roomy["micro_batch"]
        assert not roomy["text_chunk"]
