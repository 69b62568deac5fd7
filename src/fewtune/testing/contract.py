"""The contract of strategies: checks on a random CLIP that take a second or two each.

A check that fails says what was expected and what was found.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pydantic
import torch
from torch import Tensor

from fewtune.core.errors import DataError
from fewtune.core.files import read_json
from fewtune.core.spec import Plan
from fewtune.core.task import ClassSet, Task
from fewtune.model.head import Head
from fewtune.model.strategy import Strategy
from fewtune.model.towers import Prompts
from fewtune.reports.citations import entries
from fewtune.reports.model_card import write_card
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing.contract_case import STEPS, ContractCase, Interrupt, trains
from fewtune.testing.dataset_contract import require_bibtex
from fewtune.testing.tiny import tiny_task
from fewtune.training.image_loader import ImageLoader
from fewtune.training.load_run import load_run
from fewtune.training.loop import Training
from fewtune.training.run import run
from fewtune.training.run_folder import RunFolder
from fewtune.training.scoring import scores
from fewtune.training.tracking import Tracker

TOLERANCE = 1e-5
FILES = {
    "record.json",
    "spec.json",
    "task.json",
    "adapter.safetensors",
    "predictions.csv",
    "README.md",
    "summary.png",
}

Check = Callable[[ContractCase], None]


def options_survive_json(case: ContractCase) -> None:
    """A strategy equals itself after a trip through JSON."""
    strategy = case.strategy
    back = type(strategy).model_validate_json(strategy.model_dump_json())
    assert back == strategy, f"written to JSON and read back, {strategy!r} became {back!r}"


def out_of_bound_values_are_refused(case: ContractCase) -> None:
    """A value beyond a declared bound is an error, for every bounded field."""
    kind = type(case.strategy)
    for name, field in kind.model_fields.items():
        for bound in field.metadata:
            for attribute, outside in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                limit = getattr(bound, attribute, None)
                if limit is None:
                    continue
                value = limit + outside if attribute in ("ge", "le") else limit
                try:
                    kind.model_validate({name: value})
                except pydantic.ValidationError:
                    continue
                raise AssertionError(
                    f"{name} is declared with {attribute}={limit}, so {name}={value!r} must be "
                    "refused, but it was accepted"
                )


def its_paper_can_be_cited(case: ContractCase) -> None:
    """The citation, where there is one, is one BibTeX entry that `fewtune cite` can print."""
    kind = type(case.strategy)
    if not kind.citation:
        return
    require_bibtex(kind.citation)
    found = list(entries(kind.citation))
    assert found == [kind.citation_key()], (
        'the citation must be one BibTeX entry whose closing "}" has a line of its own, found '
        f"{len(found)} such entries in {kind.citation[:60]!r}..."
    )


def starts_where_it_says(case: ContractCase) -> None:
    """Untrained logits equal zero-shot CLIP's exactly when the strategy says that they do."""
    if case.strategy.classifier == "linear":
        return
    task = tiny_task()
    head = case.attached()
    reference = ZeroShot().attach(case.model(), task.classes).eval()
    ours, zero = (_scores_of(h, task) for h in (head, reference))
    declared = type(case.strategy).starts_as_zero_shot
    expected = "equal to" if declared else "other than"
    assert torch.allclose(ours, zero, atol=1e-4) == declared, (
        f"starts_as_zero_shot = {declared}, so untrained logits must be {expected} zero-shot "
        f"CLIP's; the largest difference found is {_difference(ours, zero):.2g}"
    )


def every_trained_tensor_learns(case: ContractCase) -> None:
    """Within three steps each trained tensor gets a gradient that is not zero."""
    training = case.training(tiny_task().support())
    seen: set[str] = set()
    for step in range(3):
        training.step(step)
        for name, parameter in training.head.trainable():
            if parameter.grad is not None and bool(parameter.grad.any()):
                seen.add(name)
    idle = {name for name, _ in training.head.trainable()} - seen
    assert not idle, (
        "every trained tensor must get a gradient within three steps, but these got none or only "
        f"zeros: {_some(idle)}. Freeze what is not used"
    )


def frozen_tensors_stay(case: ContractCase) -> None:
    """Training leaves every other tensor of the backbone bit-equal, and `original` restores all."""
    model = case.trained(tiny_task().support()).model
    before = dict(case.model().net.named_parameters())
    tuned = set(model.tuned())
    after = {n.replace(".base.", "."): p for n, p in model.net.named_parameters()}
    moved = {n for n, p in before.items() if n not in tuned and not torch.equal(after[n], p)}
    assert not moved, f"training must leave frozen tensors as they are, but it moved {_some(moved)}"
    with model.original():
        restored = dict(model.net.named_parameters())
        stray = restored.keys() ^ before.keys()
        assert not stray, (
            "within `model.original()` the backbone must have its own parameters, but these were "
            f"added or are missing: {_some(stray)}"
        )
        moved = {name for name in before if not torch.equal(restored[name], before[name])}
        assert not moved, (
            "within `model.original()` every tensor must have its first value, but these differ: "
            f"{_some(moved)}. Change tensors through `unfreeze` or `inject`"
        )


def caching_changes_nothing(case: ContractCase) -> None:
    """Activations kept at the cut give the same training as streaming."""
    cached, streamed = (
        case.trained(tiny_task().support(), cache=cache).head.saved() for cache in (True, False)
    )
    for name in cached:
        assert torch.allclose(cached[name], streamed[name], atol=TOLERANCE), (
            f"training from cached activations must give the same {name} as without a cache, but "
            f"they differ by {_difference(cached[name], streamed[name]):.2g} (allowed: {TOLERANCE})"
        )


def same_spec_gives_the_same_bytes(case: ContractCase) -> None:
    """Two runs of one spec write equal adapters and predictions."""
    first, second = (run(case.job(runs), Tracker()).folder for runs in ("runs", "again"))
    for name in ("adapter.safetensors", "predictions.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), (
            f"two runs of one spec must write the same bytes, but {first / name} and "
            f"{second / name} differ. Draw random numbers from torch's default generator only"
        )


def a_saved_run_gives_equal_logits(case: ContractCase) -> None:
    """What is loaded predicts what was evaluated, and the file holds nothing frozen."""
    task = tiny_task()
    result = run(case.job("runs", task), Tracker())
    tuned = load_run(result.folder, "cpu")
    lines = (result.folder / "predictions.csv").read_text().splitlines()[1:]
    confidence, label = tuned.scores(task.test).softmax(1).max(1)
    evaluated = [int(line.split(",")[2]) for line in lines]
    assert evaluated == label.tolist(), (
        f"the loaded run must predict what was evaluated, {evaluated}, but predicts "
        f"{label.tolist()}. What is learned must be a parameter or a buffer"
    )
    stored = torch.tensor([float(line.split(",")[3]) for line in lines])
    assert torch.allclose(stored, confidence, atol=2e-6), (
        "the loaded run must give the confidences that were evaluated, but they differ by "
        f"{_difference(stored, confidence):.2g} (allowed: 2e-6)"
    )
    saved = tuned.head.saved()
    own = tuned.head.model.tuned()
    frozen = {p.data_ptr() for n, p in tuned.head.model.net.named_parameters() if n not in own}
    kept = {name for name, v in saved.items() if v.numel() and v.data_ptr() in frozen}
    assert not kept, f"a run must save no frozen tensor of the backbone, but saves {_some(kept)}"
    fixed = {f"head.{name}" for name, _ in tuned.head.named_buffers()}
    counted = result.record["cost"]["trained_parameters"]
    elements = sum(v.numel() for name, v in saved.items() if name not in fixed)
    assert counted == elements, (
        f"the record counts {counted} trained parameters, but the saved ones have {elements} "
        "elements. A tensor of the head that is not trained must be a buffer"
    )


def class_order_does_not_matter(case: ContractCase) -> None:
    """Renumbering the classes permutes the columns of the scores and changes nothing else.

    Dropout is off: its masks follow the rows of a batch.
    """
    if "dropout" in type(case.strategy).model_fields:
        case = replace(case, strategy=case.strategy.model_copy(update={"dropout": 0.0}))
    task = tiny_task()
    order = [2, 0, 1]
    supports = (task.support(), _relabel(task, order).support())
    first, moved = (_scores_of(case.trained(support).head, task) for support in supports)
    assert torch.allclose(first[:, order], moved, atol=1e-3), (
        "with renumbered classes the same scores must come out in other columns, but they differ "
        f"by {_difference(first[:, order], moved):.2g} (allowed: 1e-3)"
    )


def new_classes_as_declared(case: ContractCase) -> None:
    """A head that is not bound to its classes scores others; a bound one refuses."""
    task = tiny_task()
    result = run(case.job("runs", task), Tracker())
    tuned = load_run(result.folder, "cpu")
    other = ClassSet(("circle", "square", "star", "cross"), task.classes.templates)
    if tuned.head.class_bound:
        try:
            tuned.with_classes(other)
        except DataError:
            return
        raise AssertionError("the head has class_bound = True, but it accepted other classes")
    found, expected = tuned.with_classes(other).scores(task.test).shape, (len(task.test), 4)
    assert found == expected, (
        f"with 4 other classes the logits must have the shape {expected}, found {tuple(found)}. "
        "A head that only knows its training classes must say class_bound = True"
    )


def a_resumed_run_equals_an_uninterrupted_one(case: ContractCase) -> None:
    """Interrupted halfway and continued, a run writes the same adapter."""
    whole = run(case.job("runs"), Tracker()).folder
    try:
        run(case.job("broken"), Interrupt(STEPS // 2))
    except KeyboardInterrupt:
        assert (case.folder / "broken").is_dir(), "an interrupted run must leave its folder"
    else:
        raise AssertionError(f"a run of about {STEPS} steps must reach step {STEPS // 2}")
    resumed = run(case.job("broken"), Tracker()).folder
    name = "adapter.safetensors"
    assert (whole / name).read_bytes() == (resumed / name).read_bytes(), (
        f"interrupted and continued, a run must write the same {name}, but it differs. What "
        "training changes must be a parameter or a buffer"
    )


def the_loss_falls(case: ContractCase) -> None:
    """Twenty-four steps on one fixed batch lower the loss."""
    fixed = {"length": 24, "length_unit": "steps", "crop_scale": None, "batch_size": 16}
    recipe = case.recipe.model_copy(update={**fixed, "warmup": 0, "schedule": "constant"})
    support = tiny_task().support()
    head = case.attached(support.classes)
    plan = Plan(device="cpu", threads=1)
    training = Training(head, support, recipe, plan, "fp32", 0, 0)
    losses = [training.step(step)[0] for step in range(training.total)]
    first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert last < first, (
        f"24 steps on one batch with lr {recipe.lr:g} must lower the loss, but its mean over five "
        f"steps went from {first:.4g} to {last:.4g}"
    )


def prompts_cover_the_classes(case: ContractCase) -> None:
    """Every class has a prompt, in the order of the classes."""
    head = case.attached()
    prompts: Prompts = head.prompts(head.classes)
    owners, expected = sorted(set(prompts.owner)), list(range(len(head.classes)))
    assert owners == expected, (
        f"every class must own a prompt: expected the owners {expected}, found {owners}"
    )
    assert prompts.classes == head.classes.names, (
        f"prompts must list the classes {head.classes.names} in their order, found "
        f"{prompts.classes}"
    )


def the_record_is_complete(case: ContractCase) -> None:
    """A finished folder holds what its documentation lists and no unfinished state."""
    result = run(case.job("runs"), Tracker())
    folder = result.folder
    write_card(RunFolder(folder), result.record, result.zero_shot)
    names = {path.name for path in folder.iterdir()}
    assert names >= FILES, f"a finished run must hold {_some(FILES)}; missing: {FILES - names}"
    assert "checkpoint.safetensors" not in names, "a finished run must have no checkpoint left"
    record = read_json(folder / "record.json")
    found, name = record["spec"]["strategy"], case.strategy.name()
    assert found == name, f"the record must name the strategy {name!r}, found {found!r}"
    top1, top5 = record["metrics"]["top1"], record["metrics"]["top5"]
    assert 0 <= top1 <= top5 <= 1, f"expected 0 <= top-1 <= top-5 <= 1, found {top1} and {top5}"


ALWAYS: tuple[Check, ...] = (
    options_survive_json,
    out_of_bound_values_are_refused,
    its_paper_can_be_cited,
    starts_where_it_says,
    same_spec_gives_the_same_bytes,
    a_saved_run_gives_equal_logits,
    new_classes_as_declared,
    prompts_cover_the_classes,
    the_record_is_complete,
)
TRAINED: tuple[Check, ...] = (
    every_trained_tensor_learns,
    frozen_tensors_stay,
    caching_changes_nothing,
    class_order_does_not_matter,
    a_resumed_run_equals_an_uninterrupted_one,
    the_loss_falls,
)
CHECKS: tuple[Check, ...] = ALWAYS + TRAINED


def check_strategy(kind: type[Strategy], folder: Path) -> None:
    """Run the whole contract for every inference type of a strategy.

    Args:
        folder: An empty folder for the tiny backbone and the runs.

    Raises:
        AssertionError: A promise is broken; the message says which, what was expected and what
            was found.
    """
    for inference, check in itertools.product(kind.types, checks_of(kind)):
        case = ContractCase(kind(type=inference), folder / inference, folder / "backbone")
        try:
            check(case)
        except AssertionError as error:
            promise = check.__name__.replace("_", " ")
            raise AssertionError(
                f"{kind.name()} --type {inference} breaks '{promise}': {error}"
            ) from error


def checks_of(kind: type[Strategy]) -> tuple[Check, ...]:
    """Return the checks that apply to a strategy."""
    return CHECKS if trains(kind) else ALWAYS


def _scores_of(head: Head, task: Task) -> Tensor:
    return scores(head, head.classes, ImageLoader(task.test, head.model.preprocess), "fp32")


def _relabel(task: Task, order: list[int]) -> Task:
    """Return the task with class order[i] at place i."""
    place = {old: new for new, old in enumerate(order)}
    train = tuple(replace(e, label=place[e.label]) for e in task.train)
    return replace(task, classes=task.classes.select(order), train=train, val=(), test=())


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _some(names: Iterable[str]) -> str:
    """Return the first three names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
