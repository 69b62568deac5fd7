"""A classifier that follows scikit-learn: images and labels in, labels out.

    classifier = Classifier("clip-lora", "ViT-B16").fit(paths, labels)
    classifier.predict(["new.jpg"])

An image is a path, a PIL image or an array (H, W[, C]) of uint8. What `fit` trains depends on the
images and labels, not on their order.
"""

import inspect
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fewtune.core.defaults import DEFAULT_BACKBONE
from fewtune.core.errors import DataError, RunError
from fewtune.core.files import read_json, write_folder, write_sealed
from fewtune.core.run_config import AskedPrecision, RunConfig, for_python
from fewtune.core.spec import Spec
from fewtune.core.task import DEFAULT_TEMPLATES, ClassSet, Example, Task
from fewtune.data.arrays import (
    as_images,
    as_labels,
    as_source,
    as_templates,
    class_names,
    training_examples,
)
from fewtune.training.find_runs import find_run
from fewtune.training.load_run import Tuned, load_run
from fewtune.training.named_recipes import configure
from fewtune.training.prepare import Preparation
from fewtune.training.run import train
from fewtune.training.run_folder import RunFolder
from fewtune.training.tracking import Tracker

LABELS = "labels.json"


class Classifier:
    """CLIP, tuned on a handful of labelled images.

    Args:
        strategy: A name of `fewtune list strategies`.
        backbone: Name, Hugging Face id or folder of a CLIP.
        classes: Class names for the prompts: a list in the order of the sorted labels, or a
            mapping from labels; None uses the labels themselves.
        templates: Prompts with one "{}" for the class name each; several are averaged.
        seed: Of training.
        device: "auto", "cpu", "cuda".
        precision: "fp32", "bf16", or "auto": bf16 where the hardware has it.
        threads: CPU threads; None for as many as torch uses.
        steps_scale: Factor on training steps and schedule.
        time_budget_s: Shortens training to this many seconds.
        memory_mib: Most that the process may hold; None for what is free.
        runs: Folder that keeps the run; None: it is gone with the classifier, if not saved.
        options: Fields of the strategy or of its recipe: rank=4, lr=1e-3.

    Attributes:
        classes_: (C,) the labels, sorted: the columns of `predict_proba`.
        record_: What was trained, how and at which cost.
    """

    classes_: NDArray[Any]
    record_: dict[str, Any]

    def __init__(
        self,
        strategy: str = "clip-lora",
        backbone: str = DEFAULT_BACKBONE,
        *,
        classes: Sequence[str] | Mapping[Any, str] | None = None,
        templates: Sequence[str] = DEFAULT_TEMPLATES,
        seed: int = 0,
        device: str = "auto",
        precision: AskedPrecision = "auto",
        threads: int | None = None,
        steps_scale: float = 1.0,
        time_budget_s: float | None = None,
        memory_mib: float | None = None,
        runs: Path | str | None = None,
        **options: Any,
    ) -> None:
        self.strategy = strategy
        self.backbone = backbone
        self.classes = classes
        self.templates = templates
        self.seed = seed
        self.device = device
        self.precision = precision
        self.threads = threads
        self.steps_scale = steps_scale
        self.time_budget_s = time_budget_s
        self.memory_mib = memory_mib
        self.runs = runs
        self.options = options
        self._tuned: Tuned | None = None
        self._folder: Path | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name, options included."""
        return {name: getattr(self, name) for name in PARAMETERS} | self.options

    def set_params(self, **params: Any) -> Self:
        """Change arguments; other names are options."""
        for name, value in params.items():
            if name in PARAMETERS:
                setattr(self, name, value)
            else:
                self.options = self.options | {name: value}
        return self

    @for_python
    def fit(self, X: Iterable[Any], y: Iterable[Any]) -> Self:
        """Train on images X and their labels y, all texts or all whole numbers.

        Raises:
            DataError: Lengths differ, there is no image or one class, or an image or a label is of
                another kind.
            ConfigError: An argument is wrong.
            RunError: Training failed.
        """
        images, labels = as_images(X), as_labels(y)
        if len(images) != len(labels):
            raise DataError(f"X holds {len(images)} images, but y {len(labels)} labels.")
        values, codes = np.unique(labels, return_inverse=True)
        classes = ClassSet(class_names(values, self.classes), as_templates(self.templates))
        task = Task("images", classes, training_examples(images, codes))
        settings = {name: getattr(self, name) for name in SETTINGS}
        runs = self._scratch() if self.runs is None else self.runs
        config = RunConfig.of({**self.options, **settings, "runs": runs})
        folder = train(Preparation().job(config, task), Tracker())
        write_sealed(folder / LABELS, {"labels": values.tolist()})
        return self._take(folder)

    @for_python
    def predict_proba(self, X: Iterable[Any]) -> NDArray[np.float64]:
        """Return probabilities (N, C); rows sum to 1.

        Raises:
            RunError: The classifier is not fitted.
            DataError: An image cannot be read.
        """
        tuned, _ = self._fitted()
        images = as_images(X)
        examples = [Example(str(i), 0, as_source(image)) for i, image in enumerate(images)]
        shares: NDArray[np.float64] = tuned.scores(examples).double().softmax(1).numpy()
        return shares

    def predict(self, X: Iterable[Any]) -> NDArray[Any]:
        """Return the labels (N,) of images."""
        shares = self.predict_proba(X)
        return np.asarray(self.classes_[shares.argmax(1)])

    def score(self, X: Iterable[Any], y: Iterable[Any]) -> float:
        """Return the share of images whose label is predicted."""
        labels = as_labels(y)
        predicted = self.predict(X)
        if len(predicted) != len(labels):
            raise DataError(f"X holds {len(predicted)} images, but y {len(labels)} labels.")
        return float((predicted == labels).mean())

    @for_python
    def save(self, path: Path | str) -> Path:
        """Copy the run's folder to the new folder `path`: `load` and `fewtune predict` read it.

        Raises:
            RunError: The classifier is not fitted, or the disk does not take the files.
            ConfigError: `path` is in use.
        """
        _, source = self._fitted()
        ignored = shutil.ignore_patterns(".lock")
        return write_folder(
            Path(path),
            lambda folder: shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True),
        )

    @classmethod
    @for_python
    def load(
        cls,
        path: Path | str,
        device: str = "auto",
        precision: AskedPrecision = "auto",
        threads: int | None = None,
    ) -> Self:
        """Return the classifier of a saved one's folder, or of any complete run.

        Args:
            precision: "auto" is that of the run.

        Raises:
            RunError: Not a complete run folder, or of a newer format.
            AdapterError: The backbone changed since, or the adapter file does not fit.
        """
        folder = RunFolder(find_run(path))
        folder.record()
        spec, classes = folder.spec(), folder.classes()
        made = cls(
            spec.strategy,
            spec.backbone,
            classes=classes.names,
            templates=classes.templates,
            seed=spec.seed,
            device=device,
            precision=precision,
            threads=threads,
            steps_scale=spec.steps_scale,
            time_budget_s=spec.time_budget_s,
            **changed_options(spec),
        )
        return made._take(folder.path)

    def _take(self, path: Path) -> Self:
        """Become the classifier of a run."""
        folder = RunFolder(path)
        tuned = load_run(path, self.device, self.precision, self.threads)
        self.classes_ = _labels(folder)
        self.record_ = folder.record()
        self._tuned, self._folder = tuned, path
        return self

    def _fitted(self) -> tuple[Tuned, Path]:
        if self._tuned is None or self._folder is None:
            raise RunError(
                "This Classifier is not fitted yet.",
                hint="Call fit(X, y) first, or Classifier.load(path).",
            )
        return self._tuned, self._folder

    def _scratch(self) -> Path:
        """Return a folder that is removed with this object."""
        folder = tempfile.mkdtemp(prefix="fewtune-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def __repr__(self) -> str:
        defaults = inspect.signature(Classifier).parameters
        changed = {
            name: value
            for name, value in self.get_params().items()
            if name not in defaults or repr(value) != repr(defaults[name].default)
        }
        return f"Classifier({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def __getstate__(self) -> dict[str, Any]:
        if self._tuned is not None:
            raise RunError(
                "A fitted Classifier is not pickled: a pickle can run code when it is loaded.",
                hint="Use classifier.save(path) and Classifier.load(path).",
            )
        return self.__dict__

    def __sklearn_is_fitted__(self) -> bool:
        return self._tuned is not None

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(two_d_array=False, string=True),
        )


SETTINGS = (
    "strategy", "backbone", "seed", "device", "precision", "threads", "steps_scale",
    "time_budget_s", "memory_mib",
)  # fmt: skip
PARAMETERS = tuple(
    name
    for name, parameter in inspect.signature(Classifier).parameters.items()
    if parameter.kind is not inspect.Parameter.VAR_KEYWORD
)


def changed_options(spec: Spec) -> dict[str, Any]:
    """Return the options by which a spec differs from its strategy's defaults."""
    _, default = configure(spec.strategy, spec.options, spec.shots)
    if spec.recipe is None or default is None:
        return dict(spec.options)
    changed = {
        name: value
        for name, value in spec.recipe.model_dump().items()
        if value != getattr(default, name)
    }
    return {**spec.options, **changed}


def _labels(folder: RunFolder) -> NDArray[Any]:
    """Return the labels (C,) of a run's classes: their names, if it was given no labels.

    Raises:
        RunError: The file of labels is damaged.
    """
    stored, names = folder.path / LABELS, folder.classes().names
    if not stored.exists():
        return as_labels(names)
    value = read_json(stored)
    try:
        labels = as_labels(value["labels"])
    except (DataError, KeyError, TypeError):
        labels = np.array([])
    if len(labels) != len(names):
        raise RunError(
            f"{stored} is damaged: it does not hold the labels of {len(names)} classes.",
            hint="Save the classifier again, or remove the file to predict the classes' names.",
        )
    return labels
