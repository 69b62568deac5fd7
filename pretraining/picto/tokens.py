"""A byte-pair vocabulary of our own, in the files that `CLIPTokenizer` reads."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from pretraining.picto.network import CONTEXT, VOCABULARY

START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
# The split of CLIP's tokenizer: contractions, runs of letters, single digits, other signs.
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_merges(texts: Iterable[str], vocabulary: int = VOCABULARY) -> list[tuple[str, str]]:
    """The merges of a BPE whose vocabulary, with all bytes and both marks, has this size."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary + 512,
        show_progress=False,
        end_of_word_suffix=WORD_END,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]


def write_tokenizer(
    texts: Iterable[str], folder: Path, size: int = VOCABULARY, context: int = CONTEXT
) -> CLIPTokenizer:
    """Trains a vocabulary of `size` and writes a tokenizer folder; returns the tokenizer."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = dict.fromkeys(letters + [letter + WORD_END for letter in letters])
    kept = []
    for left, right in train_merges(texts, size):
        # Two merges can make one token; ids stay unique.
        if len(tokens | {left + right: None}) > size - 2:
            break
        tokens[left + right] = None
        kept.append((left, right))
    if len(tokens) < size - 2:
        tokens |= {f"<|unused{n}|>": None for n in range(size - 2 - len(tokens))}
    vocabulary = {token: index for index, token in enumerate([*tokens, START, END])}
    tokenizer = CLIPTokenizer(
        vocab=vocabulary,
        merges=kept,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=context,
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    return tokenizer
