"""Captioned scenes of plain shapes: count, position, size, colour and rotation.

Some (shape, colour) and (shape, count) pairs are never drawn for training: `held_out` says which,
so that a structured task can ask for combinations that the model has not seen.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle", "star", "diamond", "pentagon", "cross", "ring")
COLOURS = {
    "red": (215, 35, 35),
    "green": (40, 160, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 205, 30),
    "orange": (240, 130, 25),
    "purple": (140, 50, 170),
    "pink": (245, 130, 180),
    "black": (15, 15, 15),
}
COUNTS = ("one", "two", "three", "four", "five", "six")
PLACES = {
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "top": (0.5, 0.25),
    "bottom": (0.5, 0.75),
    "center": (0.5, 0.5),
}
CANVAS_PX = 192


@dataclass(frozen=True)
class Scene:
    """The factors of one picture; `place` and `size` speak of scenes with one shape."""

    shape: str
    colour: str
    count: int
    place: str
    size: str
    turned: bool

    @property
    def held_out(self) -> bool:
        """Whether the pair (shape, colour) or (shape, count) is kept for testing."""
        shape = SHAPES.index(self.shape)
        colour = list(COLOURS).index(self.colour)
        return (shape + 3 * colour) % 8 == 0 or (self.count > 1 and (shape + self.count) % 5 == 0)

    def words(self) -> list[str]:
        """The factor words, for word classification."""
        words = [self.shape, self.colour, COUNTS[self.count - 1]]
        if self.count == 1:
            words += [self.place, self.size]
        return words + (["tilted"] if self.turned else [])

    def caption(self) -> str:
        """One sentence that states every factor."""
        turned = "tilted " if self.turned else ""
        if self.count > 1:
            plural = "crosses" if self.shape == "cross" else f"{self.shape}s"
            return f"{COUNTS[self.count - 1]} {turned}{self.colour} {plural}"
        where = "in the center" if self.place == "center" else f"at the {self.place}"
        return f"one {self.size} {turned}{self.colour} {self.shape} {where}"


def draw_scene(rng: random.Random) -> Scene:
    """Factors at random: half of the scenes hold one shape."""
    return Scene(
        rng.choice(SHAPES),
        rng.choice(list(COLOURS)),
        1 if rng.random() < 0.5 else rng.randint(2, len(COUNTS)),
        rng.choice(list(PLACES)),
        rng.choice(("small", "large")),
        rng.random() < 0.25,
    )


def training_scenes(count: int, seed: int) -> list[Scene]:
    """`count` scenes without the held-out pairs."""
    rng, scenes = random.Random(seed), list[Scene]()
    while len(scenes) < count:
        scene = draw_scene(rng)
        if not scene.held_out:
            scenes.append(scene)
    return scenes


def _outline(shape: str, angle: float) -> list[tuple[float, float]]:
    """Corners on the unit circle."""
    if shape == "cross":
        arm = [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)]
        points = [(x / 3, y / 3) for x, y in arm + [(-x, -y) for x, y in arm]]
    elif shape == "star":
        radii = [1.0, 0.42] * 5
        points = [
            (r * math.sin(math.pi * k / 5), -r * math.cos(math.pi * k / 5))
            for k, r in enumerate(radii)
        ]
    else:
        sides, start = {"triangle": (3, 0.0), "square": (4, 0.5), "diamond": (4, 0.0)}.get(
            shape, (5, 0.0)
        )
        turns = [2 * math.pi * (k + start) / sides for k in range(sides)]
        points = [(math.sin(t), -math.cos(t)) for t in turns]
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]


def _centres(scene: Scene, rng: random.Random) -> tuple[list[tuple[float, float]], float]:
    """Centres and radius of the shapes, in shares of the canvas."""
    if scene.count == 1:
        x, y = PLACES[scene.place]
        jitter = rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)
        return [(x + jitter[0], y + jitter[1])], 0.11 if scene.size == "small" else 0.22
    cells = [(c, r) for r in range(3) for c in range(3)]
    chosen = rng.sample(cells, scene.count)
    return [((c + 0.5) / 3, (r + 0.5) / 3) for c, r in chosen], rng.uniform(0.1, 0.14)


def render_scene(scene: Scene, rng: random.Random, size_px: int = 48) -> NDArray[np.uint8]:
    """Pixels (P, P, 4) on a transparent ground."""
    canvas = Image.new("RGBA", (CANVAS_PX, CANVAS_PX), (255, 255, 255, 0))
    pen, colour = ImageDraw.Draw(canvas), (*COLOURS[scene.colour], 255)
    centres, radius = _centres(scene, rng)
    angle = rng.choice((-1, 1)) * math.radians(rng.uniform(18, 27)) if scene.turned else 0.0
    for x, y in centres:
        x_px, y_px, r_px = x * CANVAS_PX, y * CANVAS_PX, radius * CANVAS_PX
        box = (x_px - r_px, y_px - r_px, x_px + r_px, y_px + r_px)
        if scene.shape == "circle":
            pen.ellipse(box, fill=colour)
        elif scene.shape == "ring":
            pen.ellipse(box, outline=colour, width=round(r_px * 0.4))
        else:
            corners = _outline(scene.shape, angle)
            pen.polygon([(x_px + r_px * u, y_px + r_px * v) for u, v in corners], fill=colour)
    return np.asarray(canvas.resize((size_px, size_px), Image.Resampling.LANCZOS))
