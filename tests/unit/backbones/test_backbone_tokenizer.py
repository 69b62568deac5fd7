"""Token ids, pool positions, and prompts that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from clip_builders import WORDS, tiny_config, write_clip, write_word_tokenizer
from transformers import CLIPModel

from fewtune.backbones.checkpoint import load_checkpoint
from fewtune.backbones.tokenizer import load_tokenizer
from fewtune.core.errors import AdapterError, DataError

CLIP = {"context": 77, "vocabulary": 49408, "eos_token_id": 49407}


# The ids that OpenAI's own tokenizer gives.
@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a photo of a cat.", [320, 1125, 539, 320, 2368, 269]),
        (
            "a photo of a Golden Retriever, a type of pet.",
            [320, 1125, 539, 320, 3878, 28394, 267, 320, 3877, 539, 3703, 269],
        ),
        ("2012 BMW M3 coupé", [273, 271, 272, 273, 7869, 332, 274, 9871, 4166]),
        ("it's 100%  café", [585, 568, 272, 271, 271, 260, 15304]),
        ("", []),
    ],
)
def test_bundled_vocabulary_is_that_of_clip(text: str, ids: list[int]) -> None:
    found, end = load_tokenizer(None, **CLIP)([text])
    assert found.tolist() == [[49406, *ids, 49407]]
    assert end.tolist() == [len(ids) + 1]


def test_bundled_vocabulary_comes_with_its_licence() -> None:
    from fewtune.backbones.model_names import ASSETS

    folder = ASSETS / "clip_bpe"
    assert "Copyright (c) 2021 OpenAI" in (folder / "LICENSE").read_text()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000


def test_rows_are_as_long_as_the_longest_prompt() -> None:
    ids, end = load_tokenizer(None, **CLIP)(["cat", "a photo of a cat"])
    assert ids.shape == (2, 7)
    assert end.tolist() == [2, 6]
    assert ids.dtype == torch.int64


def test_longest_prompt_fits_and_one_more_token_is_refused() -> None:
    tokenizer = load_tokenizer(None, context=8, vocabulary=49408, eos_token_id=2)
    assert tokenizer(["cat " * 6])[0].shape == (1, 8)
    with pytest.raises(DataError, match=r"'cat cat .*' has 9 tokens.*at most 8"):
        tokenizer(["cat", "cat " * 7])
    with pytest.raises(DataError, match=r"'(cat ){15}\.\.\.' has 42 tokens"):
        tokenizer(["cat " * 40])
    with pytest.raises(DataError, match="no prompt"):
        tokenizer([])


@pytest.mark.parametrize(
    ("eos", "words"),
    [
        (3, WORDS),
        (2, ["unk", "pad", "a", "START", "photo", "of", "cat", "dog", "END"]),
        # The vocabulary's end of text is not its largest id, and yet 2 means "the largest".
        (2, ["unk", "pad", "END", "START", "photo", "of", "cat", "dog", "a"]),
    ],
)
def test_pool_position_is_that_of_transformers(tmp_path: Path, eos: int, words: list[str]) -> None:
    torch.manual_seed(0)
    model = CLIPModel(tiny_config(vocab_size=len(words), eos_token_id=eos)).eval()
    folder = write_clip(tmp_path / "clip", model)
    write_word_tokenizer(folder, words)
    checkpoint = load_checkpoint(str(folder))
    texts = ["a photo of a cat", "dog", "a dog of a cat a"]
    ids, end = checkpoint.tokenizer(texts)
    assert ids.shape == (3, 8)
    with torch.no_grad():
        hidden = model.text_model(input_ids=ids).last_hidden_state
        ours = model.text_projection(hidden[torch.arange(3), end])
        assert torch.equal(ours, model.get_text_features(input_ids=ids).pooler_output)
        for text, row in zip(texts, ours, strict=True):
            alone, _ = checkpoint.tokenizer([text])
            single = model.get_text_features(input_ids=alone).pooler_output[0]
            torch.testing.assert_close(row, single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eos", [2, 49407])
def test_pool_position_with_clips_vocabulary(tmp_path: Path, eos: int) -> None:
    model = CLIPModel(tiny_config(eos_token_id=eos, vocab_size=49408)).eval()
    folder = write_clip(tmp_path / "clip", model)
    (folder / "tokenizer.json").unlink()
    tokenizer = load_checkpoint(str(folder)).tokenizer
    ids, end = tokenizer(["a cat", "a photo of the dog", "cat <|endoftext|> dog"])
    with torch.no_grad():
        outputs = model.text_model(input_ids=ids)
        ours = outputs.last_hidden_state[torch.arange(3), end]
    assert torch.equal(ours, outputs.pooler_output)


def test_tokenizers_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no tokenizer.*9 tokens is not CLIP's"):
        load_tokenizer(tmp_path, context=8, vocabulary=9, eos_token_id=3)
    write_word_tokenizer(tmp_path, WORDS)
    with pytest.raises(AdapterError, match="ids up to 4, but the text tower knows 4"):
        load_tokenizer(tmp_path, context=8, vocabulary=4, eos_token_id=3)
    with pytest.raises(AdapterError, match="pools at token 8"):
        load_tokenizer(tmp_path, context=8, vocabulary=9, eos_token_id=8)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(AdapterError, match="cannot be read"):
        load_tokenizer(tmp_path, context=8, vocabulary=9, eos_token_id=3)
