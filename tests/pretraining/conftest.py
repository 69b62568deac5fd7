"""Self-drawn icons and a tiny pack, so that no test needs a package or the network."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from pretraining.picto.drawings import Drawings
from pretraining.picto.pack import Pack
from pretraining.picto.render import assemble
from pretraining.picto.scenes import render_scene, training_scenes
from pretraining.picto.wordnet import Synset, WordNet


def draw_icon(kind: str, seed: int) -> NDArray[np.uint8]:
    """A bar or a frame of random place and thickness, black on transparent (48, 48, 4)."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((48, 48, 4), np.uint8)
    start, thick = rng.integers(2, 20), rng.integers(4, 9)
    if kind == "bar":
        pixels[start : start + thick, 4:44, 3] = 255
    else:
        pixels[start:46, start:46, 3] = 255
        pixels[start + thick : 46 - thick, start + thick : 46 - thick, 3] = 0
    return pixels


@pytest.fixture(scope="session")
def net() -> WordNet:
    """Five nouns: sweater and jumper are garments; a pullover is a sweater."""
    return WordNet(
        synsets={
            1: Synset(("garment",), 6, (), (2,)),
            2: Synset(("sweater", "jumper"), 6, (1,), (3,)),
            3: Synset(("pullover",), 6, (2,), ()),
            4: Synset(("idea",), 9, (), ()),
        },
        senses={
            "garment": (1,),
            "sweater": (2,),
            "jumper": (2,),
            "pullover": (3,),
            "idea": (4,),
            "bar": (4,),
            "frame": (4,),
        },
    )


@pytest.fixture(scope="session")
def pack(net: WordNet) -> Pack:
    """Three hundred pictures of two kinds of icons and of scenes."""
    icons, scenes = Drawings("own"), Drawings("scenes")
    for seed in range(120):
        icons.add(draw_icon("bar", seed), "bar", colour=False)
        icons.add(draw_icon("frame", seed), "frame", colour=seed % 2 == 0)
    rng = random.Random(0)
    for scene in training_scenes(60, seed=0):
        scenes.add(render_scene(scene, rng), scene.caption(), colour=True)
    return assemble([icons, scenes], net, {"bar": ["rod"]}, {"seed": 0})
