"""The contract of strategies: checks on a random CLIP that take a second or two each.

A check that fails says what was expected and what was found.
"""

import itertools
from collections.abc import Callable
from pathlib import Path

from fewtune.model.load_strategy import offered
from fewtune.model.strategy import Strategy
from fewtune.testing import declaration_checks, run_checks, training_checks
from fewtune.testing.contract_case import ContractCase, trains

Check = Callable[[ContractCase], None]

ALWAYS: tuple[Check, ...] = (
    declaration_checks.options_survive_json,
    declaration_checks.out_of_bound_values_are_refused,
    declaration_checks.options_cannot_change,
    declaration_checks.options_have_names_of_their_own,
    declaration_checks.its_paper_can_be_cited,
    declaration_checks.prompts_cover_the_classes,
    run_checks.starts_where_it_says,
    run_checks.rows_are_their_own,
    run_checks.prompts_keep_their_end,
    run_checks.same_spec_gives_the_same_bytes,
    run_checks.a_saved_run_gives_equal_logits,
    run_checks.new_classes_as_declared,
    run_checks.the_record_is_complete,
)
UNTRAINED: tuple[Check, ...] = (declaration_checks.nothing_is_trained_without_a_recipe,)
LEARNED: tuple[Check, ...] = (
    declaration_checks.phases_have_names_of_their_own,
    training_checks.frozen_tensors_stay,
    training_checks.caching_changes_nothing,
    training_checks.class_order_does_not_matter,
)
FITTED: tuple[Check, ...] = (training_checks.a_closed_form_fits,)
TRAINED: tuple[Check, ...] = (
    training_checks.every_trained_tensor_learns,
    training_checks.pieces_change_nothing,
    training_checks.the_loss_falls,
    run_checks.a_resumed_run_equals_an_uninterrupted_one,
)
CHECKS: tuple[Check, ...] = ALWAYS + UNTRAINED + LEARNED + FITTED + TRAINED


def check_strategy(kind: type[Strategy], folder: Path) -> None:
    """Run the whole contract for every inference type of a strategy, installed or not.

    Args:
        folder: An empty folder for the tiny backbone and the runs.

    Raises:
        AssertionError: A promise is broken; the message says which, what was expected and what
            was found.
    """
    for inference, check in itertools.product(kind.types, checks_of(kind)):
        try:
            with offered(kind):
                check(ContractCase(kind(type=inference), folder / inference, folder / "backbone"))
        except Exception as error:
            promise = check.__name__.replace("_", " ")
            what = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(
                f"{kind.name()} --type {inference} breaks '{promise}': {what}{error}"
            ) from error


def checks_of(kind: type[Strategy]) -> tuple[Check, ...]:
    """Return the checks that apply to a strategy."""
    if kind.recipe is None:
        return ALWAYS + UNTRAINED
    return ALWAYS + LEARNED + (TRAINED if trains(kind) else FITTED)
