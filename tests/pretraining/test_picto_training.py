"""Views, training that resumes, the tokenizer, and the exported folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, CLIPModel, CLIPTokenizer

from pretraining.picto.align import Aligner, Alignment, PhraseBatches, load_image_tower
from pretraining.picto.augment import normalise
from pretraining.picto.captions import vocabulary_texts
from pretraining.picto.export import export, image_processor
from pretraining.picto.network import END_ID, VOCABULARY, build, image_features, picto_config
from pretraining.picto.optimiser import orthogonalise
from pretraining.picto.pack import Pack
from pretraining.picto.pictures import Pictures, fill_holes
from pretraining.picto.targets import WordTargets
from pretraining.picto.tokens import write_tokenizer
from pretraining.picto.train import Leg, WordTraining, batches


def tiny() -> CLIPModel:
    """The architecture of picto, one block and 16 wide."""
    return build(0, picto_config(width=16, image_blocks=1, text_blocks=1, dim=8))


@pytest.fixture(scope="module")
def tokenizer_folder(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(vocabulary_texts(pack.phrases), folder)
    return folder


def test_views_are_a_function_of_the_generator(pack: Pack) -> None:
    pictures, rows = Pictures.of(pack), np.arange(0, len(pack), 5)
    first, again, other = (
        pictures.views(rows, torch.Generator().manual_seed(seed), 32) for seed in (3, 3, 4)
    )
    assert first.shape == (len(rows), 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_holes_are_filled_where_a_line_closes() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:6, 2:6] = True
    masks[0, 3:5, 3:5] = False
    masks[1, 0, :] = masks[1, :, 0] = masks[1, :, 7] = True
    filled = fill_holes(masks)
    assert filled[0].sum() == 16
    np.testing.assert_array_equal(filled[1], masks[1])


def test_plain_pictures_are_dark_on_white(pack: Pack) -> None:
    plain = Pictures.of(pack).plain(np.arange(4))
    assert plain.shape == (4, 3, 48, 48)
    assert plain.amax() == 1
    assert plain.amin() == 0
    assert plain.mean() > 0.5


def test_targets_are_shares_of_common_words(pack: Pack) -> None:
    targets = WordTargets.of(pack)
    assert {"bar", "frame", "rod"} <= set(targets.vocabulary)
    sums = targets.shares.sum(dim=1)
    torch.testing.assert_close(sums, sums.round())
    assert len(targets.usable(pack)) == (sums[pack.phrase_of] == 1).sum() > 200
    torch.testing.assert_close(targets.frequency.sum(), torch.tensor(1.0))


def test_an_epoch_shows_each_row_once_and_starts_anywhere() -> None:
    rows = np.arange(100)
    stream = batches(rows, 10, seed=1, step=0)
    epoch = [next(stream) for _ in range(12)]
    assert sorted(np.concatenate(epoch[:10]).tolist()) == rows.tolist()
    resumed = batches(rows, 10, seed=1, step=7)
    for expected in epoch[7:]:
        np.testing.assert_array_equal(next(resumed), expected)


def test_an_epoch_shows_rows_in_proportion_to_their_weights() -> None:
    rows, weights = np.arange(100), np.where(np.arange(100) < 20, 3.0, 0.5)
    epoch = batches(rows, 10, seed=1, step=0, weights=weights)
    shown = np.bincount(np.concatenate([next(epoch) for _ in range(10)]), minlength=100)
    assert shown[:20].sum() == 60
    assert set(shown[:20].tolist()) == {3}
    assert set(shown[20:].tolist()) == {0, 1}


def test_rare_words_weigh_more(pack: Pack) -> None:
    targets = WordTargets.of(pack)
    word = targets.vocabulary.index("bar")
    phrase = int(np.argmax(((targets.ids == word) * targets.shares).sum(dim=1).numpy()))
    ids, shares = targets.ids[phrase].numpy(), targets.shares[phrase].numpy()
    expected = sum(
        s / np.sqrt(targets.frequency[i].item()) for i, s in zip(ids, shares, strict=True)
    )
    found = targets.rarity(np.array([phrase], dtype=np.int32), 0.5)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    stack = torch.randn(2, 24, 8, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(stack))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_resumed_run_equals_an_uninterrupted_one(pack: Pack, tmp_path: Path) -> None:
    whole = WordTraining(pack, Leg(until=6, batch=16), tiny())
    whole.run(tmp_path / "whole.safetensors")
    half = WordTraining(pack, Leg(until=3, batch=16), tiny())
    half.run(tmp_path / "half.safetensors")
    rest = WordTraining(pack, Leg(until=6, batch=16), tiny())
    rest.load(tmp_path / "half.safetensors")
    rest.run(tmp_path / "half.safetensors")
    expected = whole.model.state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in rest.model.state_dict().items())
    assert torch.equal(rest.head.words, whole.head.words)


def test_the_loss_falls(pack: Pack, tmp_path: Path) -> None:
    training = WordTraining(pack, Leg(until=60, size_px=48, batch=32, decay=10), tiny())
    training.optimiser.head_rate = 3e-2
    rows = training.rows[::3]
    plain = training.pictures.plain(rows)
    before = training.loss(rows, plain).item()
    training.run(tmp_path / "run.safetensors")
    assert training.loss(rows, plain).item() < before - 0.2


def test_a_checkpoint_of_another_vocabulary_is_refused(pack: Pack, tmp_path: Path) -> None:
    training = WordTraining(pack, Leg(until=1, batch=8), tiny())
    path = tmp_path / "run.safetensors"
    training.save(path)
    model, _ = load_image_tower(path, training.targets.frequency, tiny())
    assert torch.equal(model.logit_scale, training.model.logit_scale)
    with pytest.raises(ValueError, match=r"knows \d+ words, the pack 3"):
        load_image_tower(path, torch.ones(3) / 3, tiny())


def test_the_tokenizer_reads_back_what_it_wrote(tokenizer_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    assert len(tokenizer) == VOCABULARY
    for text in ("an icon of a bar", "caf\u00e9 \u2615 12 km/h", "zebra's"):
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == END_ID
        assert max(ids[:-1]) < END_ID
        plain = tokenizer.decode(ids, skip_special_tokens=True)
        assert plain.replace(" ", "") == text.replace(" ", "")


def test_batches_hold_each_phrase_once(pack: Pack) -> None:
    drawn = PhraseBatches(np.arange(len(pack)), pack.phrase_of, seed=0)
    phrases = pack.phrase_of[drawn.draw(64)]
    assert len(phrases) == len(set(phrases.tolist())) > 10


def test_alignment_brings_captions_to_their_pictures(pack: Pack, tokenizer_folder: Path) -> None:
    training = WordTraining(pack, Leg(until=1), tiny())
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    plan = Alignment(text_steps=12, joint_steps=2, text_batch=48, joint_batch=16, pictures=200)
    aligner = Aligner(pack, training.model, training.head, tokenizer, plan)
    rows = aligner.rows[PhraseBatches(aligner.rows, pack.phrase_of, 9).draw(32)]

    def loss() -> float:
        aligner.generator.manual_seed(0)
        aligner.random.seed(0)
        with torch.no_grad():
            return float(aligner.text_loss(aligner.encode(rows), pack.phrase_of[rows]))

    before = loss()
    image_before = training.model.visual_projection.weight.clone()
    aligner.align_text()
    assert loss() < before
    assert torch.equal(training.model.visual_projection.weight, image_before)
    aligner.tune_both()
    assert not torch.equal(training.model.visual_projection.weight, image_before)


def test_plain_transformers_loads_the_export_with_equal_features(
    pack: Pack, tokenizer_folder: Path, tmp_path: Path
) -> None:
    model = tiny()
    export(model, tokenizer_folder, tmp_path / "model")
    again = CLIPModel.from_pretrained(tmp_path / "model", dtype=torch.float32)
    pixels = normalise(Pictures.of(pack).plain(np.arange(5)))
    with torch.no_grad():
        torch.testing.assert_close(
            image_features(again, pixels), image_features(model, pixels), atol=2e-3, rtol=0
        )
    assert CLIPModel.from_pretrained(tmp_path / "model").dtype == torch.float16
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    rows = tokenizer(["a bar", "two red rings and a frame"], padding=True, return_tensors="pt")
    output = again.text_model(**rows)
    last = rows["attention_mask"].sum(dim=1) - 1
    pooled = output.last_hidden_state[torch.arange(2), last]
    torch.testing.assert_close(output.pooler_output, pooled)


def test_the_image_processor_equals_the_normalisation_of_training() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 48, 48), dtype=np.uint8)
    expected = normalise(torch.from_numpy(pixels).float()[None] / 255)
    found = image_processor()(list(pixels[None]), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
