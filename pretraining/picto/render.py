"""From icon sets to two packed files: one to train on, one of held-out families."""

import json
import multiprocessing
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pretraining.picto.drawing import SIZE_PX, rasterise, svg_of
from pretraining.picto.drawings import HALF, Drawings
from pretraining.picto.heldout import HELD_OUT_SETS, HELDOUT_PACK, TRAIN_PACK
from pretraining.picto.licences import OTHER_SOURCES, attribution, refusal
from pretraining.picto.names import BrandFilter, base_name, content_words, is_skin_tone, phrase
from pretraining.picto.pack import Pack, write_pack
from pretraining.picto.scenes import render_scene, training_scenes
from pretraining.picto.sources import Sources
from pretraining.picto.tags import Tags, add_aliases, collect_tags
from pretraining.picto.wordnet import WordNet
from pretraining.picto.words import describe, describe_scene

VARIANTS = 3  # drawings a base name within one set
SCENES = 8000
LARGEST_CLIP_ART_PX = 1_000_000
SKIPPED_CLIP_ART = frozenset(
    "logos special flags cards duplicates buttons stars icons arrows flowchart".split()
)
SEED = 0


def read_icons(sources: Sources, prefix: str) -> dict[str, Any]:
    """The JSON file of one Iconify set."""
    path = sources.npm("iconify") / "json" / f"{prefix}.json"
    icons: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return icons


def choose_names(icons: dict[str, Any], brands: BrandFilter, seed: int) -> list[tuple[str, str]]:
    """(name, phrase) of the icons to draw: no brands, no skin tones, few variants."""
    suffixes = icons.get("suffixes", {})
    bases: dict[str, list[str]] = {}
    for name, icon in icons["icons"].items():
        if not icon.get("hidden") and not is_skin_tone(name):
            bases.setdefault(base_name(name, suffixes), []).append(name)
    kept, rng = brands.keep(bases), random.Random(seed)
    chosen: list[tuple[str, str]] = []
    for base in sorted(kept):
        text = phrase(base)
        if content_words(text) and not base.startswith(("flag-for-", "flag-", "regional")):
            names = bases[base]
            chosen += [(n, text) for n in rng.sample(names, min(VARIANTS, len(names)))]
    return chosen


def draw_set(job: tuple[Path, str, BrandFilter]) -> Drawings:
    """Renders the chosen icons of one set, or reads them when they were rendered before."""
    work, prefix, brands = job
    path = work / "drawn" / f"{prefix}.npz"
    if path.exists():
        return Drawings.load(prefix, path)
    icons = read_icons(Sources(work), prefix)
    in_colour = bool(icons.get("info", {}).get("palette"))
    drawings = Drawings(prefix)
    for name, text in choose_names(icons, brands, SEED):
        try:
            pixels = rasterise(svg_of(icons["icons"][name], icons))
        except ValueError:  # a handful of icons are no valid SVG
            continue
        drawings.add(pixels, text, in_colour)
    drawings.save(path)
    return drawings


def _png_pixels(path: Path) -> int:
    """The size that the header of a PNG file states, before anything is decoded."""
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    return int(width * height)


def _centred(picture: Image.Image) -> NDArray[np.uint8]:
    """A picture shrunk into the middle of a square (P, P, 4)."""
    picture.thumbnail((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE_PX, SIZE_PX), (255, 255, 255, 0))
    square.paste(picture, ((SIZE_PX - picture.width) // 2, (SIZE_PX - picture.height) // 2))
    return np.asarray(square)


def draw_clip_art(sources: Sources, net: WordNet) -> Drawings:
    """Open clip art, named by the words of its path that name concrete things."""
    drawings = Drawings("openclipart-png")
    cache = sources.work / "drawn" / "openclipart-png.npz"
    if cache.exists():
        return Drawings.load(drawings.prefix, cache)
    for path in sorted(sources.openclipart.rglob("*.png")):
        parts = path.relative_to(sources.openclipart).parts
        if SKIPPED_CLIP_ART & set(parts) or _png_pixels(path) > LARGEST_CLIP_ART_PX:
            continue
        words = content_words(path.stem.replace("_", " ")) + list(parts[-2:-1])
        lemmas = dict.fromkeys(net.lemma(word) for word in words)
        named = [word for word in lemmas if len(word) > 2 and net.concrete(word)]
        if named:
            with Image.open(path) as picture:
                drawings.add(_centred(picture.convert("RGBA")), " ".join(named), colour=True)
    drawings.save(cache)
    return drawings


def draw_scenes(count: int) -> Drawings:
    """Generated scenes; their captions are their phrases."""
    drawings, rng = Drawings("scenes"), random.Random(SEED + 1)
    for scene in training_scenes(count, SEED):
        pixels = render_scene(scene, rng)
        drawings.add(pixels, scene.caption(), colour=True)
    return drawings


def assemble(parts: list[Drawings], net: WordNet, tags: Tags, facts: dict[str, Any]) -> Pack:
    """One pack of several sets."""
    order = [(kind, part) for kind in ("mono", "colour") for part in parts]
    texts = [text for kind, part in order for text in part.texts[kind]]
    set_of = [parts.index(part) for kind, part in order for _ in part.texts[kind]]
    unique = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    scenes = {t for part in parts if part.prefix == "scenes" for t in part.texts["colour"]}
    phrases = [
        describe_scene(text) if text in scenes else describe(text, net, tags) for text in unique
    ]
    return Pack(
        np.array([m for p in parts for m in p.mono], dtype=np.uint8).reshape(-1, HALF),
        np.array([c for p in parts for c in p.colour], dtype=np.uint8).reshape(-1, HALF),
        np.array([c for p in parts for c in p.palette], dtype=np.uint8).reshape(-1, 16, 3),
        np.array([unique[text] for text in texts], dtype=np.int32),
        np.array(set_of, dtype=np.int16),
        phrases,
        [part.prefix for part in parts],
        facts,
    )


def render(work: Path, processes: int = 2) -> None:
    """Draws all accepted sets, drops what is near a held-out icon, writes packs and attribution."""
    sources = Sources(work)
    collections = json.loads(
        (sources.npm("iconify") / "collections.json").read_text(encoding="utf-8")
    )
    refused = {p: r for p, info in collections.items() if (r := refusal(p, info))}
    logos = [n for p, r in refused.items() if r == "logos" for n in read_icons(sources, p)["icons"]]
    net, tags = WordNet.read(sources.wordnet), collect_tags(sources)
    brands = BrandFilter(logos, net.senses)
    accepted = [p for p in collections if p not in refused]
    for prefix in accepted:
        add_aliases(tags, read_icons(sources, prefix))
    with multiprocessing.Pool(processes) as pool:
        jobs = [(work, prefix, brands) for prefix in accepted]
        drawn = list(pool.imap(draw_set, jobs, chunksize=1))
    held_out = [part for part in drawn if part.prefix in HELD_OUT_SETS]
    training = [part for part in drawn if part.prefix not in HELD_OUT_SETS]
    training.append(draw_clip_art(sources, net))
    references = np.concatenate(
        [np.stack(ink) for part in held_out for ink in part.inks.values() if ink]
    )
    dropped = sum(part.drop_near(references) for part in training)
    training.append(draw_scenes(SCENES))
    facts = {"seed": SEED, "refused": refused, "near_held_out": dropped}
    write_pack(assemble(training, net, tags, facts), work / TRAIN_PACK)
    write_pack(assemble(held_out, net, tags, {"seed": SEED}), work / HELDOUT_PACK)
    used = [
        attribution(p.prefix, collections[p.prefix], len(p))
        for p in training
        if p.prefix in collections
    ]
    listing = json.dumps(used + OTHER_SOURCES, indent=1, ensure_ascii=False)
    (work / "attribution.json").write_text(listing + "\n", encoding="utf-8")
    print(f"refused {len(refused)} sets, dropped {dropped} near held-out icons")
