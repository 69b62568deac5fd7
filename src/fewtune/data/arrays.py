"""In-memory images and labels, checked and turned into examples."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewtune.core.errors import ConfigError, DataError
from fewtune.core.task import ClassSet, Example
from fewtune.data.decode import InMemory
from fewtune.data.prompt_words import refuse_same_prompts


def as_images(images: Any) -> list[Any]:
    """Return the images as a list.

    Raises:
        DataError: There is no image, or one has a wrong type; its index is named.
    """
    if isinstance(images, str | Path | bytes) or hasattr(images, "getbands"):
        raise DataError("X is a single image.", hint="Put it into a list: [image].")
    try:
        found = list(images)
    except TypeError as error:
        raise DataError(f"X is a {type(images).__name__}, expected a list of images.") from error
    if not found:
        raise DataError("X holds no images.")
    for index, image in enumerate(found):
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8:
                raise DataError(
                    f"X[{index}] is an array of {image.dtype}, expected uint8 from 0 to 255.",
                    hint="For floats in [0, 1]: (255 * x).round().astype('uint8').",
                )
        elif not (isinstance(image, str | Path) or hasattr(image, "getbands")):
            raise DataError(
                f"X[{index}] is a {type(image).__name__}, expected a path, a PIL image or an array "
                "of uint8."
            )
    return found


def as_labels(labels: Any) -> NDArray[Any]:
    """Return the labels as an array of strings or of integers.

    Raises:
        DataError: They have another type, mixed types, or do not fit into 64 bits.
    """
    try:
        found = list(labels.tolist() if hasattr(labels, "tolist") else labels)
    except TypeError as error:
        raise DataError(f"y is a {type(labels).__name__}, expected a list of labels.") from error
    if all(isinstance(label, str) for label in found):
        _refuse_broken_text(found)
        return np.array(found)
    if all(isinstance(label, int | np.integer) for label in found):
        try:  # numpy would make floats of numbers from 2**63
            return np.array(found, dtype=None if max(found) < 2**63 else np.uint64)
        except OverflowError as error:
            raise DataError("Labels must be whole numbers of 64 bits, all of one sign.") from error
    strange = next((x for x in found if not isinstance(x, str | int | np.integer)), found[0])
    raise DataError(
        f"Labels must be all texts or all whole numbers, found {strange!r} "
        f"({type(strange).__name__}) among {len(found)}."
    )


def as_templates(templates: Any) -> tuple[str, ...]:
    """Return one or several prompt templates as a tuple.

    Raises:
        ConfigError: They are not texts.
    """
    several = [templates] if isinstance(templates, str) else templates
    if not isinstance(several, Sequence) or not all(isinstance(text, str) for text in several):
        raise ConfigError(
            f"templates is {templates!r}, expected a list of texts such as 'a photo of a {{}}.'."
        )
    _refuse_broken_text(several)
    return tuple(several)


def _refuse_broken_text(texts: Sequence[str]) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:  # half of a pair of surrogates
            raise DataError(f"{text!r} is no text that can be written as UTF-8.") from error


def as_source(image: Any) -> Any:
    """Return the image as the source of an example."""
    return Path(image).expanduser() if isinstance(image, str | Path) else InMemory(image)


def class_names(
    values: NDArray[Any], names: Sequence[str] | Mapping[Any, str] | None
) -> tuple[str, ...]:
    """Return the name of each label for the prompts.

    Raises:
        DataError: A label has no name, or two names have the same prompt.
    """
    labels = values.tolist()
    if isinstance(names, Mapping):
        missing = [label for label in labels if label not in names]
        if missing:
            raise DataError(f"classes has no name for label {missing[0]!r}.")
        names = [names[label] for label in labels]
    if names is not None and len(names) != len(labels):
        raise DataError(f"classes holds {len(names)} names, but y has {len(labels)} labels.")
    found = tuple(map(str, labels if names is None else names))
    _refuse_broken_text(found)
    refuse_same_prompts(ClassSet(found))
    return found


def training_examples(images: Sequence[Any], codes: NDArray[Any]) -> tuple[Example, ...]:
    """Return the examples in an order that depends on contents and labels alone.

    Keys are hashes of the contents, since a run's name depends on keys: other pixels, other run.
    """
    seen: Counter[str] = Counter()
    examples = []
    for image, label in zip(images, codes.tolist(), strict=True):
        digest = content_digest(image)
        seen[digest] += 1
        examples.append(Example(f"{digest}-{seen[digest]}", label, as_source(image)))
    return tuple(sorted(examples, key=lambda example: (example.label, example.key)))


def content_digest(image: Any) -> str:
    """Return 24 hexadecimal digits of the stored bytes or the pixels.

    Raises:
        DataError: A file or a PIL image cannot be read.
    """
    if isinstance(image, bytes):
        content = image
    elif isinstance(image, np.ndarray):
        content = repr(image.shape).encode() + image.tobytes()
    elif isinstance(image, str | Path):
        path = Path(image).expanduser()
        if path.exists() and not path.is_file():  # a pipe would block its reader
            raise DataError(f"Cannot read image {image}: it is no regular file.")
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"Cannot read image {str(image)!r}: {reason}.") from error
    else:
        try:
            content = f"{image.size} {image.mode}".encode() + image.tobytes()
        except Exception as error:  # closed, or a damaged file that Pillow reads only now
            raise DataError(f"Cannot read a PIL image: {error}.") from error
    return hashlib.sha256(content).hexdigest()[:24]
