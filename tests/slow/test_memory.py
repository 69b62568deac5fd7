"""Runs never hold more than --memory allows, from the smallest budget that works to a roomy one."""

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

from fewtune.core.discovery import load_strategy
from fewtune.core.errors import ConfigError
from fewtune.engine.job import Job
from fewtune.engine.memory import peak_mib
from fewtune.engine.run import run
from fewtune.engine.tracking import Tracker
from fewtune.testing import tiny_clip_folder, tiny_task

torch.set_num_threads(1)
folder = tiny_clip_folder(Path(sys.argv[1]) / "clip")
config = CLIPConfig.from_pretrained(folder)
for tower in (config.text_config, config.vision_config):
    tower.hidden_size, tower.intermediate_size, tower.num_hidden_layers = 192, 768, 6
config.vision_config.image_size, config.vision_config.patch_size = 96, 8
save_file({k: v.contiguous() for k, v in CLIPModel(config).state_dict().items()},
          folder / "model.safetensors", {"format": "pt"})
config.save_pretrained(folder)
(folder / "preprocessor_config.json").write_text(
    (folder / "preprocessor_config.json").read_text().replace("32", "96"))
task = tiny_task(classes=6, train=8)
words = tuple(f"a photo of a {{}} number {i}." for i in range(12))
task = replace(task, classes=replace(task.classes, templates=words))


def attempt(name, budget):
    kind = load_strategy(name)
    recipe = kind.recipe.model_copy(update={"batch_size": 32, "length": 2, "length_unit": "steps"})
    runs = Path(sys.argv[1]) / f"{name}-{budget}"
    job = Job(kind(), task, str(folder), recipe, device="cpu", precision="fp32", threads=1,
              runs=runs, card=False, cache_dir=runs / "cache", memory_mib=budget)
    try:
        record = run(job, Tracker()).record
        return {"plan": record["plan"], "top1": record["metrics"]["top1"]}
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
    rows = [forked(name, smallest + more) for more in (0, 140, 4000)]
    print(json.dumps(rows), flush=True)
"""


@pytest.mark.timeout(300)
def test_no_run_holds_more_than_its_budget(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), "clip-lora", "vpt-deep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        rows = json.loads(line)
        for row in rows:
            assert "plan" in row, row
            assert row["peak"] <= row["budget"], row
            assert row["top1"] == rows[0]["top1"]
        tight, roomy = rows[0]["plan"], rows[-1]["plan"]
        assert tight["micro_batch"] or tight["text_chunk"]
        assert not roomy["micro_batch"]
        assert not roomy["text_chunk"]
