"""A broken strategy is told which promise it breaks, what was expected and what was found."""

from __future__ import annotations

import ast
from pathlib import Path

import planted
import pytest
import torch
from torch import Tensor, nn

from fewtune.core.spec import Recipe
from fewtune.core.task import ClassSet
from fewtune.model.dual_encoder import DualEncoder
from fewtune.model.head import Head, Output
from fewtune.model.strategy import Strategy
from fewtune.testing import (
    check_strategy,
    contract,
    contract_case,
    dataset_contract,
    declaration_checks,
    run_checks,
    training_checks,
)
from fewtune.testing.contract import Check
from fewtune.testing.contract_case import ContractCase


class BrokenHead(Head):
    """Halves image embeddings and adds 1, holds a tensor that nothing uses, climbs the loss."""

    class_bound = True

    def __init__(self, model: DualEncoder, classes: ClassSet) -> None:
        super().__init__(model, classes)
        self.idle = nn.Parameter(torch.zeros(3))
        self.offset = nn.Parameter(torch.ones(model.dim))

    def image(self, z: Tensor) -> Tensor:
        return z / 2 + self.offset

    def loss(self, output: Output, labels: Tensor) -> Tensor:
        loss = super().loss(output, labels)
        return 2 * loss.detach() - loss


class Broken(Strategy):
    title = "Broken"
    citation = "@misc{broken, title = {Broken}}"
    recipe = Recipe(batch_size=8, lr=1e-2, length=4)
    types = ("vision-language",)

    def attach(self, model: DualEncoder, classes: ClassSet) -> Head:
        return BrokenHead(model, classes)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (declaration_checks.its_paper_can_be_cited, "the citation has no author, year"),
        (
            run_checks.starts_where_it_says,
            r"must be equal to zero-shot CLIP's; the largest difference found is \d",
        ),
        (
            training_checks.every_trained_tensor_learns,
            r"these got none or only zeros: head\.idle\. ",
        ),
        (training_checks.the_loss_falls, r"must lower the loss, .* went from -?\d.* to -?\d"),
    ],
)
def test_what_is_broken_is_said(check: Check, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        check(ContractCase(Broken(), tmp_path, tmp_path / "backbone"))


def test_the_strategy_and_its_promise_are_named(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="--type vision-language breaks 'its paper can be cit"):
        check_strategy(Broken, tmp_path)


@pytest.mark.parametrize(
    ("kind", "promise", "message"),
    [
        (planted.BatchCentred, "rows are their own", "alone and among others, but they differ by"),
        (planted.PromptsMixed, "rows are their own", "a prompt must have the same embedding"),
        (planted.TorchDropout, "pieces change nothing", "that of head.factor differs by"),
        (planted.LossOfPairs, "pieces change nothing", "needs divisible = False"),
        (planted.ByHand, "", r"lets visual_projection.weight train.*model.unfreeze\('visual_pro"),
        (planted.NeverFits, "a closed form fits", "as `attach` made them: head.means"),
        (planted.FitsInOrder, "class order does not matter", "in other columns, but they differ"),
        (planted.NoRecipe, "nothing is trained without a recipe", "but head.factor wants a gradi"),
        (planted.ListOption, "options cannot change", "layers is a list. Declare it as a tuple"),
        (planted.TakenName, "options have names of their own", "--shots. Rename the field shots"),
        (planted.TakenInRecipe, "options have names of their own", "Rename the field momentum_"),
        (
            planted.Longer,
            "",
            r"_insert at block.0 returned \(3, 20, 32\) in the place of \(",
        ),
        (planted.Shifted, "prompts keep their end", "does not depend on it"),
        (planted.ShiftedBack, "prompts keep their end", "must not depend on what follows"),
        (planted.IdleInPhaseTwo, "every trained tensor learns", "only zeros: head.idle"),
        (planted.Raises, "", "KeyError: 'scale'"),
    ],
)
def test_a_planted_mistake_is_named(
    kind: type[Strategy],
    promise: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class is not installed anywhere."""
    checks = [c for c in contract.checks_of(kind) if promise in c.__name__.replace("_", " ")]
    monkeypatch.setattr(contract, "checks_of", lambda _: checks)
    with pytest.raises(AssertionError, match=f"breaks '.*{promise}.*': .*{message}"):
        check_strategy(kind, tmp_path)


def test_a_sound_strategy_that_is_not_installed_passes(tmp_path: Path) -> None:
    check_strategy(planted.Sound, tmp_path)


@pytest.mark.parametrize(
    "module", [declaration_checks, run_checks, training_checks, contract_case, dataset_contract]
)
def test_no_check_fails_without_a_word(module: object) -> None:
    file = Path(str(module.__file__))  # type: ignore[attr-defined]
    found = [
        node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if type(node) is ast.Assert
    ]
    assert found
    assert [node.lineno for node in found if node.msg is None] == []
