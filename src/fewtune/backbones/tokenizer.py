"""Prompts to token ids, and the position at which the text tower reads each prompt."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewtune.backbones.model_names import ASSETS
from fewtune.core.errors import AdapterError, DataError

CLIP_VOCABULARY = 49408
# transformers takes this value of `eos_token_id` to mean "pool at the largest id of the prompt",
# whatever the vocabulary calls 2.
LARGEST_ID_RULE = 2

_SHOWN_CHARACTERS = 60


class Tokenizer:
    """The tokenizer of one checkpoint.

    Attributes:
        context: Longest prompt in tokens, start and end included.
    """

    def __init__(self, backend: Any, context: int, eos_token_id: int) -> None:
        self.context = context
        self._backend = backend
        self._eos_token_id = eos_token_id

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return ids (P, L), L that of the longest of these texts, and pool positions (P,).

        Shorter rows are filled with their own last token, which changes neither the pool position
        nor, in a causal tower, anything before it.

        Raises:
            DataError: There is no text, or one is longer than the context.
        """
        if not texts:
            raise DataError("There is no prompt to encode.", hint="Give at least one class.")
        rows = [self._encode(text) for text in texts]
        longest = max(len(row) for row in rows)
        ids = torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows])
        return ids, torch.tensor([self._end(row) for row in rows])

    def _encode(self, text: str) -> list[int]:
        # One text at a time: encoding a batch starts threads that later forks complain about.
        ids: list[int] = self._backend.encode(text).ids
        if len(ids) > self.context:
            shown = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
            raise DataError(
                f"Prompt {shown!r} has {len(ids)} tokens, but this backbone takes at most "
                f"{self.context} (start and end included).",
                hint="Shorten the class name, the template or the description.",
            )
        return ids

    def _end(self, row: list[int]) -> int:
        return row.index(max(row) if self._eos_token_id == LARGEST_ID_RULE else self._eos_token_id)


def load_tokenizer(
    folder: Path | None, *, context: int, vocabulary: int, eos_token_id: int
) -> Tokenizer:
    """Return the tokenizer in `folder`, CLIP's own when there is none and the vocabulary fits.

    Raises:
        AdapterError: There are no tokenizer files, they are damaged, or they do not fit the model.
    """
    if folder is None or not has_tokenizer(folder):
        if vocabulary != CLIP_VOCABULARY:
            raise AdapterError(
                f"{folder or 'The checkpoint'} has no tokenizer, and its vocabulary of "
                f"{vocabulary} tokens is not CLIP's ({CLIP_VOCABULARY}).",
                hint="Put its tokenizer.json into the folder of the checkpoint.",
            )
        folder = ASSETS / "clip_bpe"
    tokenizer = Tokenizer(_load_backend(folder), context, eos_token_id)
    _check_fit(tokenizer, folder, vocabulary, eos_token_id)
    return tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep log lines and warnings of transformers off the terminal for a while."""
    with quiet_log("transformers", logging.CRITICAL), warnings.catch_warnings(action="ignore"):
        yield


@contextmanager
def quiet_log(name: str, level: int) -> Iterator[None]:
    """Keep what a library logs below a level off the terminal for a while."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder holds the files of a tokenizer."""
    pair = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    return pair or (folder / "tokenizer.json").is_file()


def _load_backend(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        with quiet_transformers():
            loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        backend = loaded.backend_tokenizer
    # Damaged files raise bare Exception from the Rust side.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise AdapterError(
            f"The tokenizer files in {folder} cannot be read: {lines[0]}",
            hint="Copy or download them again.",
        ) from error
    backend.no_truncation()
    backend.no_padding()
    return backend


def _check_fit(tokenizer: Tokenizer, folder: Path, vocabulary: int, eos_token_id: int) -> None:
    ids = tokenizer._encode("a")
    if not ids or max(ids) >= vocabulary:
        raise AdapterError(
            f"The tokenizer in {folder} gives ids up to {max(ids, default=0)}, but the text tower "
            f"knows {vocabulary} tokens.",
            hint="The tokenizer files belong to another model.",
        )
    if eos_token_id not in (LARGEST_ID_RULE, *ids):
        raise AdapterError(
            f"The text tower pools at token {eos_token_id} (eos_token_id in config.json), which "
            f"the tokenizer in {folder} does not put at the end of a prompt.",
            hint="Correct eos_token_id, or use the tokenizer that belongs to the model.",
        )
