"""Declarations of a strategy: its options, its citation, its prompts and its phases."""

import typing
from collections.abc import Iterator
from typing import Any

import pydantic

from fewtune.cli.fit import OPTIONS
from fewtune.core.fields import keys_of
from fewtune.core.run_config import RunConfig
from fewtune.core.spec import Recipe
from fewtune.model.towers import Prompts
from fewtune.reports.citations import entries
from fewtune.testing.contract_case import ContractCase
from fewtune.testing.dataset_contract import require_bibtex

CHANGEABLE = (list, dict, set)


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


def options_cannot_change(case: ContractCase) -> None:
    """No option is a list, a dict or a set: a run is named by its options, which must stay."""
    for name, field in type(case.strategy).model_fields.items():
        found = next((t for t in _parts_of(field.annotation) if t in CHANGEABLE), None)
        assert found is None, (
            f"an option must be a value that cannot change, but {name} is a {found.__name__}. "
            "Declare it as a tuple or a text"
        )


def options_have_names_of_their_own(case: ContractCase) -> None:
    """No option has the name of a flag that every run has."""
    taken = {option.name for option in OPTIONS} | {"help", "debug"}
    taken |= {flag.removeprefix("--") for option in OPTIONS for flag in option.opts}
    for model in (RunConfig, Recipe):
        taken |= {key for n, f in model.model_fields.items() for key in keys_of(n, f)}
    for name, field in type(case.strategy).model_fields.items():
        found = keys_of(name, field) & taken
        assert not found, (
            f"an option must have a name of its own, but every run has a flag --{min(found)}. "
            f"Rename the field {name}"
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


def phases_have_names_of_their_own(case: ContractCase) -> None:
    """The log tells phases apart by their names."""
    names = [phase.name for phase in case.phases]
    assert len(set(names)) == len(names) > 0, f"phases must have names of their own, found {names}"


def nothing_is_trained_without_a_recipe(case: ContractCase) -> None:
    """A strategy whose recipe is None trains no tensor."""
    found = [name for name, _ in case.attached().trainable()]
    assert not found, (
        f"a strategy with recipe = None trains nothing, but {found[0]} wants a gradient. "
        "Give it a Recipe; one of length 0 if `prepare` computes what is learned"
    )


def _parts_of(annotation: Any) -> Iterator[Any]:
    """Yield the types that an annotation is made of."""
    yield typing.get_origin(annotation) or annotation
    for inner in typing.get_args(annotation):
        yield from _parts_of(inner)
