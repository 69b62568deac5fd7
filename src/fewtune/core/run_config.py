"""One run as it is asked for: what flags, TOML, a sweep, a protocol and Python all validate into.

A new field of a run is one line in one of the classes below. It is then a flag of `fewtune fit` and
`fewtune sweep`, a key in their files, an axis of a sweep, a keyword argument of `fewtune.fit` and a
row in the docs. A field of `TrainingSettings` is hashed and recorded as well.
"""

import functools
import keyword
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec, Self, TypeVar

from pydantic import BeforeValidator, Field

from fewtune.core.defaults import DEFAULT_BACKBONE, DEFAULT_STRATEGY
from fewtune.core.draws import DEFAULT_DRAW, Draw
from fewtune.core.errors import ConfigError, FewTuneError, names_flags
from fewtune.core.fields import (
    Flag,
    Former,
    Frozen,
    Mebibytes,
    Seconds,
    flag_name,
    keys_of,
    parse_values,
)
from fewtune.core.naming import FORMER, dashed
from fewtune.core.preprocess import PreprocessPolicy, ResizePolicy
from fewtune.core.task import Classes, PromptSource, Split, Subset

EXECUTION = "Execution"
AskedPrecision = Literal["auto", "fp32", "bf16"]
RENAMED = Former(values=tuple(FORMER.items()))
DEVICES = ("auto", "cpu", "cuda", "mps", "xpu", "hpu", "mtia", "npu", "xla")
Given = ParamSpec("Given")
Returned = TypeVar("Returned")
# A command keeps its flags: in backticks, or from "fewtune" to the end of a sentence.
COMMAND_OR_FLAG = re.compile(r"`[^`]*`|\bfewtune .*?(?=\. |$)|(?<![\w-])--(?P<flag>[a-z][a-z-]*)")
LENGTHS = ("epochs", "steps")  # fields that are units of a length too


def _folder(value: Any) -> Any:
    """Refuse a URL: as a path it would make folders of its parts."""
    if "://" in str(value):
        raise ConfigError(
            f"--runs must be a folder, found {str(value)!r}.",
            hint="fewtune sweep keeps runs at URLs: --runs s3://bucket/study",
        )
    return value


def _device(value: Any) -> str:
    """Refuse what is no device of torch; whether this machine has it shows later."""
    if str(value).partition(":")[0] not in DEVICES:
        raise ConfigError(
            f"There is no device {str(value)!r}.",
            hint="Use --device auto, cpu, cuda, cuda:1 or mps.",
        )
    return str(value)


class DataChoice(Frozen):
    """Which images are learned and scored, and in which words."""

    data: Annotated[str, Flag(metavar="DIR|NAME"), BeforeValidator(str)] = Field(
        "", description="images: a path, or the name of a dataset"
    )
    root: Annotated[Path | None, Flag(metavar="DIR", shown="the download folder")] = Field(
        None, description="folder that holds datasets by name"
    )
    layout: Annotated[
        str | None, Flag(metavar="NAME", shown="the first of `fewtune data info`")
    ] = Field(None, description="form of a dataset to read, where several are on this machine")
    subset: Annotated[Subset | None, Flag(shown="1000; full with --shots")] = Field(
        None, description="training images of a VTAB task: 1,000, or 800 and 200 for validation"
    )
    classes: Classes = Field(
        "all", description="classes to learn: all, or the first or second half, as in base-to-new"
    )
    score_on: Split = Field(
        "test", description="images to score; with val, the run never sees a test image"
    )
    test_share: Annotated[float | None, Flag(shown="0.2 if there is neither test nor val")] = Field(
        None, gt=0, lt=1, description="share of each class that is set aside for test"
    )
    name: Annotated[str | None, Flag(metavar="NAME", shown="that of the folder")] = Field(
        None, description="name of the task in tables"
    )
    template: Annotated[
        tuple[str, ...], Flag(metavar="TEXT", shown="those of --prompts, else a photo of a {}.")
    ] = Field((), description="prompt with {} for the class name; may be repeated")
    prompts: Annotated[PromptSource | None, Flag(shown="that of the dataset"), RENAMED] = Field(
        None, description="whose class names and templates a dataset is read with"
    )
    ensemble: Annotated[bool, Former("templates", (("all", True), ("first", False)))] = Field(
        True, description="average over all templates; without it, the first one is used"
    )
    descriptions: Annotated[Path | None, Flag(metavar="FILE")] = Field(
        None, description='prompts by class: JSON {"cat": ["..."]} or csv with class and text'
    )
    preprocess: Annotated[PreprocessPolicy, RENAMED] = Field(
        "checkpoint", description="whose resizing, interpolation, mean and deviation"
    )
    resize: Annotated[ResizePolicy | None, Flag(shown="as --preprocess says")] = Field(
        None, description="how images become square"
    )


class TrainingSettings(Frozen):
    """What decides training next to strategy and recipe; a run's spec has the same fields."""

    shots: Annotated[int | None, Flag(shown="all")] = Field(
        None, ge=1, description="training images drawn from each class"
    )
    seed: Annotated[int, Flag(shown="0")] = Field(
        0, ge=0, le=2**31 - 1, description="seed of the draw and of training"
    )
    draw: Draw = Field(
        DEFAULT_DRAW, description="how shots are drawn: our way, a paper's, or its published lists"
    )
    steps_scale: float = Field(
        1.0, gt=0, le=1000, description="factor on training steps and schedule"
    )
    time_budget_s: Annotated[
        Seconds | None, Flag("--time-budget", shown="none; a number is in seconds")
    ] = Field(None, gt=0, description="shorten training to this time: 90s, 10m or 1h30m")


class ExecutionSettings(Frozen):
    """How a run is executed here; it changes no metric by more than rounding."""

    device: Annotated[str, Flag(section=EXECUTION), BeforeValidator(_device)] = Field(
        "auto", description="where to compute: auto, cpu, cuda, cuda:1, mps"
    )
    precision: Annotated[AskedPrecision, Flag(section=EXECUTION)] = Field(
        "auto", description="of matrix products; auto is bf16 where the hardware has it"
    )
    threads: Annotated[int | None, Flag(shown="as torch chooses", section=EXECUTION)] = Field(
        None, ge=1, le=1024, description="CPU threads"
    )
    memory_mib: Annotated[
        Mebibytes | None, Flag("--memory", shown="what is free", section=EXECUTION)
    ] = Field(None, gt=0, description="most memory that the process may take, such as 2GiB")
    cache_dir: Annotated[
        Path | None, Flag("--cache", "DIR", "one folder for all runs", EXECUTION)
    ] = Field(None, description="folder for the encoded images that runs share")
    no_cache: Annotated[bool, Flag(section=EXECUTION)] = Field(
        False, description="keep no encoded images: encode them again in every step"
    )
    runs: Annotated[Path, Flag(metavar="DIR", section=EXECUTION), BeforeValidator(_folder)] = Field(
        Path("runs"), description="folder for runs"
    )
    tracker: Annotated[Literal["none", "tensorboard", "wandb"], Flag(section=EXECUTION)] = Field(
        "none", description="where to log, next to metrics.jsonl in the run's folder"
    )
    checkpoint_interval_s: Annotated[float, Flag(hidden=True)] = Field(
        20.0, ge=0, description="seconds between checkpoints"
    )


class RunConfig(ExecutionSettings, TrainingSettings, DataChoice):
    """One run as it is asked for.

    Attributes:
        options: Fields of the strategy and of its recipe that were given; checked when the strategy
            is made (`training.named_recipes.configure`).
    """

    backbone: Annotated[str, Flag(metavar="NAME"), BeforeValidator(str)] = Field(
        DEFAULT_BACKBONE, description="name, Hugging Face id or folder: `fewtune list backbones`"
    )
    recipe: Annotated[str, Flag(metavar="[paper|peft4clip]"), RENAMED] = Field(
        "paper", description="recipe to start from"
    )
    epochs: Annotated[float | None, Flag(shown="as the recipe says")] = Field(
        None, ge=0, description="length of training in epochs"
    )
    steps: Annotated[float | None, Flag(shown="as the recipe says")] = Field(
        None, ge=0, description="length of training in optimizer steps"
    )
    strategy: Annotated[str, Flag(hidden=True)] = DEFAULT_STRATEGY
    options: Annotated[dict[str, Any], Flag(hidden=True)] = Field(default_factory=dict)

    def __init__(self, **values: Any) -> None:
        parsed = for_python(parse_values)(values, [type(self)], "A run has no field")
        super().__init__(**parsed)

    @classmethod
    def of(cls, values: Mapping[str, Any], unknown: str = "") -> Self:
        """Return the run that these values ask for.

        Args:
            values: By field or by flag without its dashes ("time_budget_s", "time-budget"). Other
                keys are options of the strategy or of its recipe.
            unknown: Begins the message for an unknown key; "" takes it for an option.

        Raises:
            ConfigError: A value is not valid.
        """
        own, options = split_options(values)
        if unknown and options:
            parse_values(dict.fromkeys(options), [cls], unknown)
        named = options.pop("options", {})
        return cls(**parse_values(own, [cls], unknown), options={**named, **options})

    def changed(self, **changes: Any) -> Self:
        """Return the same run with other values.

        Raises:
            ConfigError: A value is not valid.
        """
        return self.model_copy(update=parse_values(changes, [type(self)], "A run has no field"))

    def named_options(self) -> dict[str, Any]:
        """Return the options, `epochs` and `steps` among them as length and its unit.

        Raises:
            ConfigError: The length is given twice.
        """
        given = {name: getattr(self, name) for name in LENGTHS if getattr(self, name) is not None}
        if len(given) + ("length" in self.options) > 1:
            raise ConfigError(
                "The length of training is given twice.",
                hint="Use one of --epochs, --steps and --length.",
            )
        for unit, number in given.items():
            return {**self.options, "length": number, "length_unit": unit}
        return dict(self.options)


def for_python(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Let the errors of a function name keywords: --time-budget is time_budget_s.

    Under the command line, and everywhere else, messages name flags.
    """

    @functools.wraps(function)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        try:
            return function(*args, **kwargs)
        except FewTuneError as error:
            if names_flags.get():
                raise
            error.what, error.hint = map(_with_keywords, (error.what, error.hint))
            error.args = (f"{error.what} {error.hint}".strip(),)
            raise

    return wrapped


def _with_keywords(text: str) -> str:
    def spelled(match: re.Match[str]) -> str:
        if (flag := match["flag"]) is None:
            return match[0]
        name = KEYWORDS.get(flag, flag.replace("-", "_"))
        return f"{name}_" if keyword.iskeyword(name) else name

    return COMMAND_OR_FLAG.sub(spelled, text)


def split_options(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is said of a run's fields among these values, and the options by their name."""
    own = {key: value for key, value in values.items() if dashed(key) in FIELDS}
    return own, {key.replace("-", "_"): v for key, v in values.items() if key not in own}


# Every key that stands for a field of a run.
FIELDS = {
    key
    for name, field in RunConfig.model_fields.items()
    if name != "options"
    for key in keys_of(name, field)
}
KEYWORDS = {flag_name(name, how)[2:]: name for name, how in RunConfig.model_fields.items()}
