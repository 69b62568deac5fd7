"""Runs of a strategy: where it starts, what a run writes, and what is read from it."""

import torch
import torch.nn.functional as F

from fewtune.core.errors import DataError
from fewtune.core.files import read_json
from fewtune.core.task import ClassSet
from fewtune.model.head import Head
from fewtune.model.towers import Activations, Prompts
from fewtune.reports.model_card import write_card
from fewtune.strategies.zero_shot import ZeroShot
from fewtune.testing.contract_case import ContractCase, Interrupt, difference, scores_of, some
from fewtune.testing.tiny import CONTEXT, tiny_task
from fewtune.training.cut import with_image
from fewtune.training.load_run import load_run
from fewtune.training.run import run
from fewtune.training.run_folder import RunFolder
from fewtune.training.tracking import Tracker

FILES = {
    "record.json",
    "spec.json",
    "task.json",
    "adapter.safetensors",
    "predictions.csv",
    "README.md",
    "summary.png",
}


def starts_where_it_says(case: ContractCase) -> None:
    """Untrained logits equal zero-shot CLIP's exactly when the strategy says that they do."""
    if case.strategy.classifier == "linear":
        return
    task = tiny_task()
    head = case.attached()
    reference = ZeroShot().attach(case.model(), task.classes).eval()
    ours, zero = (scores_of(h, task.test) for h in (head, reference))
    declared = type(case.strategy).starts_as_zero_shot
    expected = "equal to" if declared else "other than"
    assert torch.allclose(ours, zero, atol=1e-4) == declared, (
        f"starts_as_zero_shot = {declared}, so untrained logits must be {expected} zero-shot "
        f"CLIP's; the largest difference found is {difference(ours, zero):.2g}"
    )


def rows_are_their_own(case: ContractCase) -> None:
    """An image has the same scores in any batch, and a prompt the same embedding."""
    task = tiny_task()
    recipe = type(case.strategy).recipe
    head = case.trained(task.support()).head if recipe else case.attached()
    whole = scores_of(head, task.test)
    alone = torch.cat([scores_of(head, (example,)) for example in task.test[:4]])
    assert torch.allclose(whole[:4], alone, atol=1e-3), (
        "an image must have the same scores alone and among others, but they differ by "
        f"{difference(whole[:4], alone):.2g} (allowed: 1e-3). `image`, hooks and layers must treat "
        "every row by itself"
    )
    if head.classifier == "linear" or head.conditional:
        return
    prompts = head.prompts(task.classes)
    together = _embedded(head, prompts)
    for index in range(len(prompts.texts)):
        part = slice(index, index + 1)
        one = _embedded(head, Prompts(prompts.texts[part], prompts.owner[part], prompts.classes))
        found = difference(one, together[part])
        assert found < 1e-3, (
            "a prompt must have the same embedding alone and among others, but they differ by "
            f"{found:.2g} (allowed: 1e-3). Hooks in the text tower must treat every row by itself"
        )


def _embedded(head: Head, prompts: Prompts) -> torch.Tensor:
    return F.normalize(head.model.encode_frozen(prompts).x, dim=-1)


def prompts_keep_their_end(case: ContractCase) -> None:
    """Hooks in the text tower leave the end of text where it is, since the tower pools there."""
    head = case.attached()
    if head.classifier == "linear":
        return
    model = head.model
    batch = with_image(head, model.encode(head.prompts(tiny_task().classes)))
    assert batch.rows is not None, "class prompts must have rows"
    ends = batch.rows.end
    spare = min(1, CONTEXT - batch.x.shape[1])
    ids = F.pad(batch.x, (0, spare), value=int(batch.x[0, ends[0]]))
    first = [stage.name for stage in model.text.stages()].index("block.0")
    entering = Activations(model.text, ids, rows=batch.rows).advance(first)
    x = entering.x.detach().requires_grad_()
    y = Activations(model.text, x, first, batch.rows).encoded().x
    (gradient,) = torch.autograd.grad(y.square().sum(), x)
    for row, end in enumerate(ends.tolist()):
        assert bool(gradient[row, end].any()), (
            f"the embedding of a prompt must come from its end of text, token {end}, but does not "
            "depend on it. A hook must keep the place of every token"
        )
        assert not bool(gradient[row, end + 1 :].any()), (
            f"the embedding of a prompt must not depend on what follows its end of text, token "
            f"{end}, but it does. A hook must keep the place of every token"
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
        f"{difference(stored, confidence):.2g} (allowed: 2e-6)"
    )
    saved = tuned.head.saved()
    own = tuned.head.model.tuned()
    frozen = {p.data_ptr() for n, p in tuned.head.model.net.named_parameters() if n not in own}
    kept = {name for name, v in saved.items() if v.numel() and v.data_ptr() in frozen}
    assert not kept, f"a run must save no frozen tensor of the backbone, but saves {some(kept)}"
    fixed = {f"head.{name}" for name, _ in tuned.head.named_buffers()}
    counted = result.record["cost"]["trained_parameters"]
    elements = sum(v.numel() for name, v in saved.items() if name not in fixed)
    assert counted == elements, (
        f"the record counts {counted} trained parameters, but the saved ones have {elements} "
        "elements. A tensor of the head that is not trained must be a buffer"
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
    """Interrupted in the middle of any phase and continued, a run writes the same adapter."""
    whole = run(case.job("runs"), Tracker()).folder
    for phase in case.phases:
        broken = f"broken-in-{phase.name}"
        try:
            run(case.job(broken), Interrupt(phase.name))
        except KeyboardInterrupt:
            assert (case.folder / broken).is_dir(), "an interrupted run must leave its folder"
        else:
            raise AssertionError(f"a run must make steps in its phase {phase.name!r}, but has none")
        resumed = run(case.job(broken), Tracker()).folder
        name = "adapter.safetensors"
        assert (whole / name).read_bytes() == (resumed / name).read_bytes(), (
            f"interrupted in its phase {phase.name!r} and continued, a run must write the same "
            f"{name}, but it differs. What training changes must be a parameter or a buffer"
        )


def the_record_is_complete(case: ContractCase) -> None:
    """A finished folder holds what its documentation lists and no unfinished state."""
    result = run(case.job("runs"), Tracker())
    folder = result.folder
    write_card(RunFolder(folder), result.record, result.zero_shot)
    names = {path.name for path in folder.iterdir()}
    assert names >= FILES, f"a finished run must hold {some(FILES)}; missing: {FILES - names}"
    assert "checkpoint.safetensors" not in names, "a finished run must have no checkpoint left"
    record = read_json(folder / "record.json")
    found, name = record["spec"]["strategy"], case.strategy.name()
    assert found == name, f"the record must name the strategy {name!r}, found {found!r}"
    top1, top5 = record["metrics"]["top1"], record["metrics"]["top5"]
    assert 0 <= top1 <= top5 <= 1, f"expected 0 <= top-1 <= top-5 <= 1, found {top1} and {top5}"
