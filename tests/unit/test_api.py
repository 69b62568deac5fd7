"""The scikit-learn style classifier, and the public names of the package."""

from __future__ import annotations

import ast
import copy
import gc
import inspect
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, cross_val_score

import fewtune
from fewtune import Classifier, FewTuneError
from fewtune.core.errors import ConfigError, DataError, RunError
from fewtune.core.spec import Recipe
from fewtune.core.task import Example
from fewtune.testing import tiny_clip_folder, tiny_task
from fewtune.training.job import Job
from fewtune.training.load_run import load_run
from fewtune.training.run import run, train
from fewtune.training.tracking import Tracker

FAST: dict[str, Any] = {"length": 3, "length_unit": "steps", "lr": 0.02}
Make = Callable[..., Classifier]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_clip_folder(tmp_path_factory.mktemp("backbone") / "clip", blocks=2))


@pytest.fixture
def make(backbone: str) -> Make:
    """A classifier on the tiny backbone that trains for three steps."""
    return lambda strategy="clip-lora", **rest: Classifier(
        strategy, backbone, device="cpu", **{**FAST, **rest}
    )


def images(split: str = "train") -> tuple[list[Any], list[str]]:
    """Arrays and class names of the tiny task."""
    task = tiny_task()
    examples = task.splits()[split]
    arrays = [example.source.read() for example in examples]  # type: ignore[union-attr]
    return arrays, [task.classes.names[example.label] for example in examples]


def test_it_predicts_labels_and_probabilities(make: Make) -> None:
    X, y = images()
    test, labels = images("test")
    classifier = make(templates="a photo of {}.")
    assert classifier.fit(X, y) is classifier
    assert classifier.classes_.tolist() == ["blue", "green", "red"]
    shares = classifier.predict_proba(test)
    assert shares.shape == (18, 3)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)
    predicted = classifier.predict(test)
    assert predicted.tolist() == classifier.classes_[shares.argmax(1)].tolist()
    assert classifier.score(test, labels) == np.mean(predicted == np.array(labels))
    assert classifier.record_["cost"]["steps"] == 3
    assert classifier.record_["metrics"] == {}


def test_it_learns(make: Make) -> None:
    X, y = images()
    classifier = make("linear-probe", length=60, lr=0.05).fit(X, y)
    assert classifier.score(*images("test")) > 0.9


@pytest.mark.parametrize("labels", [[7, -2, 40], [np.int64(1), np.int64(5), np.int64(3)]])
def test_whole_numbers_are_labels(make: Make, labels: list[int]) -> None:
    X, y = images()
    of = dict(zip(["red", "green", "blue"], labels, strict=True))
    names = {label: name for name, label in of.items()}
    by_number = make(classes=names, dropout=0.0).fit(X, np.array([of[name] for name in y]))
    assert by_number.classes_.tolist() == sorted(labels)
    assert by_number.classes_.dtype.kind == "i"
    by_name = make(dropout=0.0).fit(X, y)
    wanted = [of[name] for name in by_name.predict(X)]
    assert by_number.predict(X).tolist() == wanted


def test_paths_pil_images_and_arrays_are_the_same_images(make: Make, tmp_path: Path) -> None:
    X, y = images()
    pictures = [Image.fromarray(array) for array in X]
    paths = [tmp_path / f"{i}.png" for i in range(len(X))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    classifier = make().fit(X, y)
    wanted = classifier.predict_proba(X)
    for same in (pictures, paths, [str(path) for path in paths], np.stack(X)):
        assert np.array_equal(classifier.predict_proba(same), wanted)
    assert make().fit(paths, y).predict(X).shape == (len(X),)
    assert make().fit(pictures, y).predict(X).shape == (len(X),)


def test_the_order_of_the_images_does_not_matter(make: Make) -> None:
    X, y = images()
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = make().fit([X[i] for i in order], [y[i] for i in order])
    first = make().fit(X, y)
    assert shuffled.record_["hash"] == first.record_["hash"]
    assert np.array_equal(shuffled.predict_proba(X), first.predict_proba(X))


def test_other_pixels_are_another_run(make: Make, tmp_path: Path) -> None:
    X, y = images()
    first = make(runs=tmp_path).fit(X, y)
    changed = [*X[:-1], 255 - X[-1]]
    second = make(runs=tmp_path).fit(changed, y)
    assert first.record_["hash"] != second.record_["hash"]
    again = make(runs=tmp_path).fit(X, y)
    assert again.record_["created"] == first.record_["created"]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_repeated_image_counts_twice(make: Make) -> None:
    X, y = images()
    record = make().fit([*X, X[0]], [*y, y[0]]).record_
    assert record["task"]["images"] == {"train": 13, "val": 0, "test": 0}


def test_zero_shot_trains_nothing(backbone: str) -> None:
    classifier = Classifier("zero-shot", backbone, device="cpu").fit(*images())
    assert classifier.record_["cost"]["steps"] == 0
    assert classifier.predict_proba(images("test")[0]).shape == (18, 3)


def test_saved_and_loaded_it_answers_the_same(make: Make, tmp_path: Path) -> None:
    X, y = images()
    numbers = [{"red": 3, "green": 1, "blue": 20}[name] for name in y]
    classifier = make(rank=3, classes=["green", "red", "blue"]).fit(X, numbers)
    path = classifier.save(tmp_path / "saved")
    loaded = Classifier.load(path, device="cpu")
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert loaded.classes_.tolist() == [1, 3, 20]
    assert loaded.record_ == classifier.record_
    again = clone(loaded).fit(X, numbers)
    assert again.record_["hash"] == classifier.record_["hash"]
    tuned = load_run(path, "cpu")
    examples = [Example(str(i), 0, path) for i, path in enumerate(saved_images(X, tmp_path))]
    shares = tuned.scores(examples).softmax(1)
    torch.testing.assert_close(shares.double(), torch.from_numpy(classifier.predict_proba(X)))


def saved_images(arrays: list[Any], folder: Path) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(len(arrays))]
    for array, path in zip(arrays, paths, strict=True):
        Image.fromarray(array).save(path)
    return paths


def test_any_complete_run_is_a_classifier(backbone: str, tmp_path: Path) -> None:
    strategy = fewtune.load_strategy("clip-adapter")()
    recipe = Recipe(length=2, length_unit="steps")
    folder = run(Job.of(strategy, tiny_task(), backbone, recipe, runs=tmp_path), Tracker()).folder
    classifier = Classifier.load(folder, device="cpu")
    assert classifier.classes_.tolist() == ["red", "green", "blue"]
    assert classifier.get_params()["length"] == 2
    top1 = classifier.record_["metrics"]["top1"]
    assert classifier.score(*images("test")) == pytest.approx(top1, abs=1e-6)


def test_save_keeps_what_is_there(make: Make, tmp_path: Path) -> None:
    classifier = make().fit(*images())
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        classifier.save(tmp_path / "taken")
    assert (tmp_path / "taken" / "file").read_text() == "mine"


def test_the_scratch_folder_goes_with_the_classifier(make: Make) -> None:
    classifier = make().fit(*images())
    folder = classifier._folder
    assert folder is not None
    assert folder.is_dir()
    del classifier
    gc.collect()
    assert not folder.parent.exists()


def test_it_refuses_less_memory_than_it_takes_and_says_how_much(make: Make) -> None:
    with pytest.raises(ConfigError, match="memory_mib"):
        make(memory_mib=1).fit(*images())


def test_a_failed_fit_leaves_the_old_one(make: Make) -> None:
    X, y = images()
    classifier = make().fit(X, y)
    before = classifier.predict_proba(X)
    with pytest.raises(ConfigError, match="no option 'rnak'"):
        classifier.set_params(rnak=2).fit(X, y)
    assert np.array_equal(classifier.predict_proba(X), before)


def test_parameters_are_those_of_scikit_learn() -> None:
    classifier = Classifier("clip-lora", rank=4, seed=3)
    parameters = classifier.get_params()
    assert parameters["rank"] == 4
    assert parameters["backbone"] == "ViT-B16"
    assert classifier.set_params(rank=8, seed=5).get_params() == parameters | {"rank": 8, "seed": 5}
    copied = clone(classifier)
    assert copied is not classifier
    assert copied.get_params() == classifier.get_params()
    assert repr(copied) == "Classifier(seed=5, rank=8)"
    assert is_classifier(classifier)


def test_construction_does_no_work() -> None:
    Classifier("no-such-strategy", "no/such/backbone", device="nowhere", nonsense=1)


def test_scikit_learn_searches_and_validates(make: Make) -> None:
    X, y = images()
    assert cross_val_score(make("linear-probe"), X, y, cv=2).shape == (2,)
    search = GridSearchCV(make("linear-probe"), {"length": [1, 60]}, cv=2).fit(X, y)
    assert [entry["length"] for entry in search.cv_results_["params"]] == [1, 60]
    assert search.best_score_ > 0.9


def test_a_fitted_one_is_not_pickled(make: Make) -> None:
    classifier = make()
    same = pickle.loads(pickle.dumps(classifier))
    assert same.get_params() == classifier.get_params()
    classifier.fit(*images())
    with pytest.raises(RunError, match="save"):
        copy.deepcopy(classifier)


@pytest.mark.parametrize(
    "use",
    [
        lambda c: c.predict(images()[0]),
        lambda c: c.predict_proba(images()[0]),
        lambda c: c.score(*images()),
        lambda c: c.save("nowhere"),
    ],
)
def test_unfitted_it_says_so(use: Callable[[Classifier], object]) -> None:
    with pytest.raises(RunError, match="not fitted yet"):
        use(Classifier())


GOOD = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([], [], "no images"),
        ([GOOD, GOOD], ["a"], "2 images, but y 1 labels"),
        ([GOOD, GOOD], ["a", "a"], "1 class"),
        ([GOOD, GOOD / 255], ["a", "b"], r"X\[1\] is an array of float64"),
        ([GOOD, None], ["a", "b"], r"X\[1\] is a NoneType"),
        ("image.jpg", ["a"], "single image"),
        (Image.new("RGB", (4, 4)), ["a"], "single image"),
        (7, ["a"], "X is a int"),
        ([GOOD, GOOD], [0.5, 1.0], r"0\.5 \(float\)"),
        ([GOOD, GOOD], ["a", 1], "all texts or all whole numbers"),
        ([GOOD, GOOD], [[0, 1], [1, 0]], "list"),
        ([GOOD, GOOD], None, "y is a NoneType"),
        ([GOOD, GOOD], [], "but y 0 labels"),
        (["missing.jpg", GOOD], ["a", "b"], r"missing\.jpg"),
        (["a\0b.jpg", GOOD], ["a", "b"], "null byte"),
        ([GOOD, GOOD], ["a", "\ud800"], "UTF-8"),
        ([GOOD, GOOD], [-1, 2**63], "64 bits"),
    ],
)
def test_bad_input_is_named(make: Make, X: Any, y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make().fit(X, y)


@pytest.mark.parametrize(
    ("classes", "message"),
    [({"a": "x"}, "no name for label 'b'"), (["x"], "1 names, but y has 2"), (["x", "x"], "once")],
)
def test_wrong_class_names_are_named(make: Make, classes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(classes=classes).fit([GOOD, GOOD + 1], ["a", "b"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("templates", 5), ("templates", [5]), ("templates", None), ("runs", 5), ("seed", 1.5),
     ("steps-scale", 0), ("time-budget", 0), ("memory", -5)],
)  # fmt: skip
def test_wrong_arguments_are_named(make: Make, name: str, value: Any) -> None:
    known = inspect.signature(Classifier).parameters
    (argument,) = (one for one in known if one.startswith(name.replace("-", "_")))
    with pytest.raises(ConfigError, match=argument):
        make(**{argument: value}).fit([GOOD, GOOD + 1], ["a", "b"])


def test_large_whole_numbers_stay_what_they_are(make: Make, tmp_path: Path) -> None:
    labels = [2**63 + 1, 2**63 + 2]
    classifier = make(classes=["dark", "light"]).fit([GOOD, GOOD + 1], labels)
    assert classifier.classes_.tolist() == labels
    loaded = Classifier.load(classifier.save(tmp_path / "saved"), device="cpu")
    assert loaded.classes_.tolist() == labels


@pytest.mark.parametrize("text", ["[]", "{}", '{"labels": ["a"]}', '{"labels": null}', "{"])
def test_a_damaged_file_of_labels_is_named(make: Make, tmp_path: Path, text: str) -> None:
    saved = make().fit([GOOD, GOOD + 1], ["a", "b"]).save(tmp_path / "saved")
    (saved / "labels.json").write_text(text)
    with pytest.raises(RunError, match=r"labels\.json"):
        Classifier.load(saved, device="cpu")


def test_a_broken_image_is_named(make: Make, tmp_path: Path) -> None:
    X, y = images()
    classifier = make().fit(X, y)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"torn\.png"):
        classifier.predict([tmp_path / "torn.png"])


def test_training_alone_refuses_a_test_split(backbone: str, tmp_path: Path) -> None:
    strategy = fewtune.load_strategy("linear-probe")()
    with pytest.raises(DataError, match="test images"):
        train(Job.of(strategy, tiny_task(), backbone, runs=tmp_path), Tracker())


def test_every_public_name_is_there() -> None:
    assert fewtune.__all__ == sorted(fewtune.__all__)
    assert dir(fewtune) == fewtune.__all__
    for name in fewtune.__all__:
        value = getattr(fewtune, name)
        assert name == "__version__" or value.__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Classifer'"):
        fewtune.Classifer
    assert issubclass(DataError, FewTuneError)


def test_type_checkers_see_the_public_names() -> None:
    tree = ast.parse(Path(fewtune.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {
        (alias.name, node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(name, f"fewtune.{home}") for name, home in fewtune._HOMES.items()}
    assert imported == homes
    assert {name for name, _ in homes} | {"__version__"} == set(fewtune.__all__)


def test_importing_the_package_is_quick_and_light() -> None:
    code = (
        "import sys, fewtune; fewtune.__version__;"
        "print(sorted({'torch', 'numpy', 'transformers', 'pydantic'} & set(sys.modules)))"
    )

    def import_s() -> float:
        """Return processor seconds: wall seconds on a free machine, and steady on a busy one."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "[]", done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(import_s() for _ in range(3)) < 0.3
