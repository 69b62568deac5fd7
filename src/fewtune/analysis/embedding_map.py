"""Embedding map: images before and after tuning, in two dimensions that can be compared.

Both maps are made with the same seed and start from the same places: those that the untouched
embeddings have taken, from their first two principal components. From places that say nothing yet,
two maps of almost the same embeddings would differ by much more than what tuning did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewtune.analysis import layer_sums
from fewtune.analysis.replay import Opened
from fewtune.core.errors import ConfigError, DataError
from fewtune.core.naming import counted
from fewtune.core.task import Example, Split, draw_order
from fewtune.reports import summary
from fewtune.reports.figures import COLOURS, blank, legend, subplots, write_figure
from fewtune.training.device import autocast
from fewtune.training.feature_cache import FeatureCache
from fewtune.training.image_loader import ImageLoader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STEM = "embedding"
IMAGES = 1000
PERPLEXITY = 30.0
NEIGHBOURS = 15
INITIAL_DEVIATION = 1e-4
CLASSES_COLOURED = 16
Points = np.ndarray[Any, np.dtype[np.float32]]
Projection = Literal["tsne", "umap"]
TITLES = {"tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True)
class Embedding:
    """Images of a run in two dimensions, before and after tuning.

    Attributes:
        before: (N, 2), in units without a meaning.
        after: (N, 2), on the same axes.
        separation: Silhouette of the classes by cosine distance, before and after, in [-1, 1].
        kept: Mean cosine of an image's embeddings before and after, in [-1, 1].
    """

    examples: tuple[Example, ...]
    before: Points
    after: Points
    separation: tuple[float, float]
    kept: float


def choose(examples: Sequence[Example], images: int) -> tuple[Example, ...]:
    """Return at most `images` examples: the first ones in an order that their keys decide."""
    chosen = {example.key for example in draw_order(examples, 0, STEM)[:images]}
    return tuple(example for example in examples if example.key in chosen)


def features(run: Opened, examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return normalised image embeddings before and after tuning, (N, D) each, in fp32."""
    head, model = run.head, run.head.model
    inputs = FeatureCache(model, ImageLoader(examples, model.preprocess, device=model.device))

    def encode(transform: Callable[[Tensor], Tensor]) -> Tensor:
        parts = []
        for batch in inputs.batches():
            with autocast(model.device, run.spec.precision):
                z = batch.embeddings()
            parts.append(F.normalize(transform(z.float()).float().cpu(), dim=-1))
        return torch.cat(parts)

    with torch.inference_mode():
        with model.original():
            before = encode(lambda z: z)
        with model.merged():
            after = encode(head.image)
    return before, after


def place(before: Tensor, after: Tensor, seed: int, method: Projection) -> tuple[Points, Points]:
    """Return both sets of embeddings, (N, D) each, in two dimensions: (N, 2) each."""
    embed = _tsne if method == "tsne" else _umap
    components = _principal(before.double())
    start = embed(before.numpy(), INITIAL_DEVIATION * components / components[:, 0].std(), seed)
    return embed(before.numpy(), start, seed), embed(after.numpy(), start, seed)


def _principal(z: Tensor) -> Points:
    """Return the first two principal components; the largest entry of each axis is positive."""
    centred = z - z.mean(0)
    axes = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    points: Points = (centred @ axes.T).float().numpy()
    return points


def _tsne(z: Points, start: Points, seed: int) -> Points:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(PERPLEXITY, (len(z) - 1) / 3)
    made = TSNE(init=start, perplexity=perplexity, random_state=seed)
    with threadpool_limits(1):  # threads add up in any order, and 1e-7 becomes another map
        placed: Points = made.fit_transform(z)
    return placed


def _umap(z: Points, start: Points, seed: int) -> Points:
    from umap import UMAP

    neighbours = min(NEIGHBOURS, len(z) - 1)
    made = UMAP(init=start, n_neighbors=neighbours, random_state=seed, n_jobs=1)
    placed: Points = made.fit_transform(z)
    return placed


def require(method: Projection) -> None:
    """Refuse a method whose library is not installed, before work is done for it.

    Raises:
        ConfigError: With the command that installs it.
    """
    module, extra = ("sklearn", "analysis") if method == "tsne" else ("umap", "umap")
    if find_spec(module) is None:
        raise ConfigError(
            f"{TITLES[method]} needs a package that is not installed.",
            hint=f'pip install "fewtune[{extra}]"',
        )


def embed(
    run: Opened,
    split: Split = "test",
    images: int = IMAGES,
    method: Projection = "tsne",
    seed: int = 0,
) -> Embedding | None:
    """Return images of a split in two dimensions; None without the images.

    Raises:
        DataError: The split has too few images.
    """
    from sklearn.metrics import silhouette_score

    if run.execution is None:
        return None
    examples = choose(run.execution.task.splits()[split], images)
    labels = [example.label for example in examples]
    if len(examples) < 5 or not 1 < len(set(labels)) < len(examples):
        raise DataError(
            f"{run.folder.path.name} has {counted(len(examples), f'{split} image')}; a map takes "
            "at least 5, of 2 classes or more, and more images than classes.",
            hint=f"Choose another split: --split {'val' if split == 'test' else 'test'}.",
        )
    before, after = features(run, examples)
    separation = [
        float(silhouette_score(z.numpy(), labels, metric="cosine")) for z in (before, after)
    ]
    kept = float((before * after).sum(1).mean())
    return Embedding(
        examples, *place(before, after, seed, method), (separation[0], separation[1]), kept
    )


def table(run: Opened, found: Embedding) -> list[dict[str, Any]]:
    """Return a row for each image."""
    names = run.tuned.classes.names
    return [
        {
            "run": run.folder.path.name,
            "key": example.key,
            "class": names[example.label],
            **{f"{axis}_before": float(x) for axis, x in zip("xy", found.before[i], strict=True)},
            **{f"{axis}_after": float(x) for axis, x in zip("xy", found.after[i], strict=True)},
        }
        for i, example in enumerate(found.examples)
    ]


def analyse(
    runs: Sequence[Opened],
    out: Path,
    split: Split = "test",
    images: int = IMAGES,
    method: Projection = "tsne",
) -> dict[str, Any]:
    """Write embedding.svg, .pdf, .csv and .json, and return what the JSON holds.

    Runs without their images are left out.
    """
    found = [(run, of) for run in runs if (of := embed(run, split, images, method))]
    facts = {
        "method": method,
        "split": split,
        "runs": [
            {
                "run": run.folder.path.name,
                "label": run.label,
                "images": len(of.examples),
                "silhouette_before": of.separation[0],
                "silhouette_after": of.separation[1],
                "cosine_with_before": of.kept,
            }
            for run, of in found
        ],
    }
    if not found:
        return facts
    layer_sums.write_numbers(out / STEM, [row for one in found for row in table(*one)], facts)
    write_figure(
        out / STEM,
        lambda: _draw(found, method),
        f"{TITLES[method]} of {split} image embeddings before and after tuning: "
        f"{'; '.join(run.label for run, _ in found)}.",
    )
    return facts


def _draw(found: Sequence[tuple[Opened, Embedding]], method: Projection) -> Figure:
    panels: list[tuple[Opened, Embedding, bool]] = []
    for run, of in found:
        if not any(np.array_equal(of.before, other.before) for _, other, _ in panels):
            panels.append((run, of, False))
        panels.append((run, of, True))
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = blank(6.4, 0.9 + rows * 6.4 / columns)
    grid = subplots(figure, len(panels), columns)
    for axis, (run, of, tuned) in zip(grid, panels, strict=True):
        labels = [example.label for example in of.examples]
        _scatter(axis, of.after if tuned else of.before, labels, run.tuned.classes.names)
        silhouette = f"{of.separation[tuned]:.2f}".replace("-", "−")
        title = run.label if tuned else "zero-shot"
        axis.set_title(f"{title}\nsilhouette {silhouette}", size=9)
    grid[0].set_ylabel(TITLES[method])
    legend(figure, grid, markerscale=1.6)
    return figure


def _scatter(axis: Axes, xy: Points, labels: Sequence[int], names: Sequence[str]) -> None:
    """Draw a dot for each image; classes beyond those with colours of their own are grey."""
    of = np.asarray(labels)
    rest = of >= CLASSES_COLOURED
    if rest.any():
        count = len(names) - CLASSES_COLOURED
        axis.scatter(
            xy[rest, 0], xy[rest, 1], s=5, color="#80808060", linewidths=0, label=f"{count} others"
        )
    for label in range(min(len(names), CLASSES_COLOURED)):
        turn, index = divmod(label, len(COLOURS))
        axis.scatter(
            xy[of == label, 0], xy[of == label, 1], s=(9, 16)[turn], color=COLOURS[index],
            marker="o^"[turn], linewidths=0, alpha=0.8, label=summary.shorten(names[label], 18),
        )  # fmt: skip
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_aspect("equal", "datalim")
    axis.spines[:].set(visible=True, color="#80808060")
