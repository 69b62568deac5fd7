"""Few-shot draws: FewTune's own and those of the papers, by name.

    fewtune    by a hash of (seed, split, key): the same whatever the order of rows and classes, and
               a draw of 4 shots contains that of 2
    coop       CoOp and Dassl: training images first, then validation images; a class with too few
               images gives all it has
    clip-lora  CLIP-LoRA: validation images first; a class with too few images gives some twice
    published  the lists that come with the data (NOAH's, and those of 2SFS)

The papers' draws use Python's random numbers from the seed alone and depend on the order of the
rows, so they are theirs only where the rows stand in the order of the published split. CoOp reads
ImageNet's folders in the order of the file system, which nobody else can repeat; rows are sorted
here, as CLIP-LoRA sorts them.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from fewtune.core.errors import ConfigError, did_you_mean
from fewtune.core.files import digest
from fewtune.core.splits import with_draw
from fewtune.core.task import Example, PublishedDraw, Task, draw_order

Draw = Literal["fewtune", "coop", "clip-lora", "published"]
Drawn = tuple[tuple[Example, ...], tuple[Example, ...]]
DEFAULT_DRAW: Draw = "fewtune"
MOST_VAL_SHOTS = 4


def few_shot(task: Task, shots: int | None, seed: int, draw: Draw = DEFAULT_DRAW) -> Task:
    """Return the task with `shots` training and at most min(shots, 4) validation images per class.

    `shots=None` keeps every image. The test split is untouched, unless it is that of a task which
    is scored on validation images: it then has the drawn ones.

    Raises:
        ConfigError: `shots` is below 1, there is no such draw, or no published list of these shots
            and this seed.
    """
    if draw not in _DRAWS:
        raise ConfigError(f"There is no draw {draw!r}.", hint=did_you_mean(draw, _DRAWS))
    if shots is None:
        return task
    if shots < 1:
        raise ConfigError(f"--shots must be at least 1, found {shots}.", hint="Try --shots 16.")
    return with_draw(task, *_DRAWS[draw](task.whole or task, shots, seed))


def drawn_digest(task: Task, shots: int | None, seed: int, draw: Draw) -> str:
    """Return a hash of what is drawn, in its order; "" where seed and keys decide it alone."""
    if shots is None or draw == DEFAULT_DRAW:
        return ""
    drawn = few_shot(task, shots, seed, draw)
    val = drawn.test if drawn.scored_on == "val" else drawn.val
    return digest([[(e.key, e.label) for e in split] for split in (drawn.train, val)])


def draw_text(spec: Mapping[str, Any], end: str = "") -> str:
    """Return "drawn as coop" and `end` for a stored spec; "" for FewTune's own draw."""
    draw = spec.get("draw", DEFAULT_DRAW)  # runs of the first version have none
    return "" if draw == DEFAULT_DRAW else f"drawn as {draw}{end}"


def by_hash(
    examples: Iterable[Example], per_class: int, seed: int, split: str
) -> Sequence[Example]:
    """Return at most `per_class` examples of each label, in drawn order within the label."""
    grouped = _by_label(draw_order(examples, seed, split))
    return [e for label in sorted(grouped) for e in grouped[label][:per_class]]


def _fewtune(task: Task, shots: int, seed: int) -> Drawn:
    train = by_hash(task.train, shots, seed, "train")
    return tuple(train), tuple(by_hash(task.val, min(shots, MOST_VAL_SHOTS), seed, "val"))


def _coop(task: Task, shots: int, seed: int) -> Drawn:
    stream = random.Random(seed)

    def take(items: Sequence[Example], count: int) -> Sequence[Example]:
        return stream.sample(items, count) if len(items) >= count else items

    train = _each_class(task.train, shots, take)
    return train, _each_class(task.val, min(shots, MOST_VAL_SHOTS), take)


def _clip_lora(task: Task, shots: int, seed: int) -> Drawn:
    stream = random.Random(seed)

    def take(items: Sequence[Example], count: int) -> Sequence[Example]:
        enough = len(items) >= count
        return stream.sample(items, count) if enough else stream.choices(items, k=count)

    val_shots = min(shots, MOST_VAL_SHOTS)
    if task.val:
        val = _each_class(task.val, val_shots, take)
        return _each_class(task.train, shots, take), val
    # For ImageNet, which has no validation split, the authors draw both from the training images
    # in one sample. Their code fails where a class is too small; here it gives no validation image.
    both = [
        take(items, shots + val_shots if len(items) >= shots + val_shots else shots)
        for items in _by_label(task.train).values()
    ]
    return (
        tuple(e for sample in both for e in sample[:shots]),
        tuple(e for sample in both for e in sample[shots:]),
    )


def _published(task: Task, shots: int, seed: int) -> Drawn:
    if not task.published:
        raise ConfigError(
            f"No few-shot lists come with '{task.name}' as it lies on disk.",
            hint="Leave --draw out, or unpack the published lists beside the images.",
        )
    for one in task.published:
        if (one.shots, one.seed) == (shots, seed):
            whole = {e.key: e for e in (*task.train, *task.val)}
            train = _named(one.train, whole, one)
            return train, task.val if one.val is None else _named(one.val, whole, one)
    shots_seen = ", ".join(map(str, sorted({one.shots for one in task.published})))
    seeds_seen = ", ".join(map(str, sorted({one.seed for one in task.published})))
    raise ConfigError(
        f"There is no published list of {shots} shots with seed {seed} for '{task.name}'.",
        hint=f"There are lists of {shots_seen} shots with seeds {seeds_seen}.",
    )


def _named(
    keys: Iterable[str], examples: dict[str, Example], draw: PublishedDraw
) -> tuple[Example, ...]:
    found = []
    for key in keys:
        if key not in examples:
            raise ConfigError(
                f"The published list of {draw.shots} shots with seed {draw.seed} names '{key}', "
                "which is not among the training and validation images.",
                hint="`fewtune data verify` says why an image was left out.",
            )
        found.append(examples[key])
    return tuple(found)


def _by_label(examples: Iterable[Example]) -> dict[int, list[Example]]:
    """Return the examples of each label, labels in the order in which they first appear."""
    grouped: dict[int, list[Example]] = defaultdict(list)
    for example in examples:
        grouped[example.label].append(example)
    return grouped


def _each_class(
    examples: Iterable[Example],
    count: int,
    take: Callable[[Sequence[Example], int], Sequence[Example]],
) -> tuple[Example, ...]:
    return tuple(e for items in _by_label(examples).values() for e in take(items, count))


_DRAWS: dict[Draw, Callable[[Task, int, int], Drawn]] = {
    "fewtune": _fewtune,
    "coop": _coop,
    "clip-lora": _clip_lora,
    "published": _published,
}
