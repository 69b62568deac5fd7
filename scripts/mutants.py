"""Mutants: small mistakes planted in the source, one at a time, and whether the tests notice.

    python scripts/mutants.py --count 60 --seed 0 --minutes 10 [--only core/draws core/spec]

A mutant runs the quick test files that TESTS names for its module, in a copy of the tracked files.
Printed are file, line, the mutated code, and what came of it; last, how many were killed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = {
    "core/draws": "unit/core/test_draws.py unit/core/test_paper_draws.py",
    "core/splits": "unit/core/test_base_new.py unit/data/test_splits.py",
    "core/spec": "unit/core/test_schedule.py unit/core/test_spec_hash.py",
    "data/class_names": "unit/data/test_class_names.py",
    "data/file_names": "unit/data/test_hidden.py unit/data/test_listing.py",
    "model/dropout": "unit/training/test_loop.py",
    "training/loop": "unit/training/test_loop.py unit/training/test_phases.py",
    "training/scoring": "unit/training/test_metrics.py",
    "training/seeding": "unit/training/test_loop.py",
}
PACKAGE = Path("src/fewtune")
FLIPS: dict[type[ast.AST], ast.AST] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.And: ast.Or(),
    ast.Or: ast.And(),
}


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield copies of a node with one mistake each."""
    new = copy.deepcopy(node)
    match new:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in FLIPS:
            new.op = FLIPS[type(op)]  # type: ignore[assignment]
            yield new
        case ast.Compare(ops=[op]) if type(op) in FLIPS:
            new.ops = [FLIPS[type(op)]]  # type: ignore[list-item]
            yield new
        case ast.UnaryOp(op=ast.Not()):
            yield new.operand
        case ast.Constant(value=bool() | int() | float() as value):
            new.value = not value if isinstance(value, bool) else value + 1
            yield new
        case ast.Return(value=ast.expr()):
            new.value = ast.Constant(None)
            yield new
        case ast.Call(args=[first, second, *rest]) if not isinstance(second, ast.Starred):
            new.args = [second, first, *rest]
            yield new
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()


def mutants(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, what was changed, source of the module) for every mistake of a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    annotations = {
        id(inner)
        for node in ast.walk(tree)
        for name in ("annotation", "returns", "decorator_list")
        for part in [getattr(node, name, None)]
        for root in (part if isinstance(part, list) else [part])
        if root is not None
        for inner in ast.walk(root)
    }
    for parent in list(ast.walk(tree)):
        for field, value in ast.iter_fields(parent):
            children = value if isinstance(value, list) else [value]
            for index, node in enumerate(children):
                if not isinstance(node, ast.stmt | ast.expr) or id(node) in annotations:
                    continue
                for new in changed(node):
                    put(parent, field, index, new)
                    text = f"{ast.unparse(node)[:70]} -> {ast.unparse(new)[:70]}"
                    yield node.lineno, text, ast.unparse(ast.fix_missing_locations(tree))
                    put(parent, field, index, node)


def put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    """Put a node in the place of a child: a field, or one of its list."""
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


def run_tests(tree: Path, tests: list[str]) -> int:
    """Run tests in a copy of the tree, with their output in its tests.log, and return its code."""
    os.setsid()
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree / "src")
    sys.path.insert(0, str(tree / "src"))
    log = os.open(tree / "tests.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    # transformers has brought along a plugin that pytest would rather import itself.
    arguments = ["-x", "-n0", "-pno:cacheprovider", "--hypothesis-seed=0"]
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*arguments, *(f"tests/{test}" for test in tests)]))


def outcome(tree: Path, tests: list[str], timeout_s: float) -> str:
    """Run tests in a fork, which need not import torch again, and say what came of it."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(run_tests(tree, tests))
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.05)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return "timeout"


def main() -> None:
    """Plant a seeded sample of mistakes and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="+", choices=TESTS, default=list(TESTS))
    options = parser.parse_args()
    names = options.only
    chosen = [(name, *mutant) for name in names for mutant in mutants(PACKAGE / f"{name}.py")]
    chosen = random.Random(options.seed).sample(chosen, min(options.count, len(chosen)))
    for heavy in ("torch", "sklearn.metrics", "transformers", "PIL.Image"):
        importlib.import_module(heavy)
    end, results = time.monotonic() + 60 * options.minutes, []
    with tempfile.TemporaryDirectory() as folder:
        for file in subprocess.check_output(["git", "ls-files"], text=True).split("\n")[:-1]:
            (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, Path(folder) / file)
        for name in names:
            if (got := outcome(Path(folder), TESTS[name].split(), 300)) != "survived":
                print((Path(folder) / "tests.log").read_text()[-3000:])
                sys.exit(f"{name}: without a mutant its tests gave: {got}")
        for name, line, text, source in chosen:
            if time.monotonic() > end:
                break
            target = Path(folder) / PACKAGE / f"{name}.py"
            original = target.read_bytes()
            target.write_text(source, encoding="utf-8")
            results.append(outcome(Path(folder), TESTS[name].split(), 120))
            target.write_bytes(original)
            print(f"{results[-1]:9} {name}.py:{line}: {text}", flush=True)
    caught = len(results) - results.count("survived")
    print(f"{caught} of {len(results)} mutants killed")


if __name__ == "__main__":
    main()
