"""Public functions that take or give tensors say their shapes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fewtune"
SIZE = r"(?:[A-Z]\w?|\d+|\.\.\.|in|out|r|[a-z_]+)"
TERM = rf"{SIZE}(?: [+*/-] {SIZE})*"
# "(B, D)", "(N,)", "(rows, tokens + N, W)", "scalar", or words for tensors of no fixed shape.
SHAPE = re.compile(
    rf"\((?=[^)]*(?:[A-Z]\b|\d|\.\.\.|\bin\b)){TERM}(?:,|(?:, {TERM})+)\)"
    r"|\bscalar\b|\bany shape\b|\btheir shapes\b|`shape`"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(body: list[ast.stmt], docstring: str = "") -> Iterator[tuple[Function, str]]:
    """Yield the public functions of a module and its public classes, with what describes them."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public(node.body, ast.get_docstring(node) or "")
        if isinstance(node, Function) and (node.name == "__call__" or node.name[0] != "_"):
            yield node, f"{docstring}\n{ast.get_docstring(node) or ''}"


def has_tensors(function: Function) -> bool:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    annotations = [argument.annotation for argument in every] + [function.returns]
    return any(re.search(r"\bTensor\b", ast.unparse(a)) for a in annotations if a is not None)


def without_shape(source: str) -> list[str]:
    """Return the public functions with tensors whose docstring has no shape."""
    return [
        f"{function.lineno} {function.name}"
        for function, text in public(ast.parse(source).body)
        if has_tensors(function) and not SHAPE.search(" ".join(text.split()))
    ]


def test_public_functions_say_the_shapes_of_their_tensors() -> None:
    bare = [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line in without_shape(path.read_text(encoding="utf-8"))
    ]
    assert not bare, 'say the shapes of tensors in the docstring, as in "(B, D)":\n' + "\n".join(
        bare
    )


@pytest.mark.parametrize("text", ["(B, D)", "(N,)", "(..., in)", "(1, T + R * N, W)", "a scalar"])
def test_what_counts_as_a_shape(text: str) -> None:
    assert without_shape(f"def f(x: Tensor) -> None:\n    '''Take x: {text}.'''") == []


@pytest.mark.parametrize("text", ["", "(theirs, too)", "(B)", "(see above)"])
def test_what_does_not(text: str) -> None:
    assert without_shape(f"def f(x: Tensor | None) -> None:\n    '''Take {text}.'''") == ["1 f"]
    assert without_shape(f"class A:\n    def _f(self) -> Tensor:\n        '''Take {text}.'''") == []
