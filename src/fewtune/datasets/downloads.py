"""Where data sets are published: addresses, sizes and checksums, as others have checked them.

Sizes and SHA-256 are those that TFDS keeps of the same files, MD5 those of torchvision, the split
files are CoOp's. A file of the Hub without a checksum here is compared with the one that the Hub
publishes. Folders are those of CoOp, where the readers look.
"""

from __future__ import annotations

from fewtune.data.declaration import Download, Shards

OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
HUB = "https://huggingface.co/datasets"
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"


def wds(name: str) -> tuple[Shards]:
    """Return the shards of CLIP benchmark, by name after "wds_"."""
    return (Shards(f"clip-benchmark/wds_{name}"),)


def drive(identifier: str, path: str, unpack: str | None = None) -> Download:
    """Return a file on Google Drive, where nobody has published sizes and checksums."""
    host = "https://drive.usercontent.google.com/download"
    return Download(f"{host}?id={identifier}&export=download&confirm=t", path, unpack=unpack)


CALTECH101 = (
    Download(
        "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
        "caltech-101/caltech-101.zip",
        checksum="md5:3138e1922a9193bfa496528edbbc45d0",
        unpack=".",
        inner=("caltech-101/101_ObjectCategories.tar.gz",),
    ),
    drive("1hyarUivQE36mY6jSomru6Fjd-JzwcCzN", "caltech-101/split_zhou_Caltech101.json"),
)
OXFORD_PETS = (
    Download(
        f"{OXFORD}/pets/data/images.tar.gz",
        "oxford_pets/images.tar.gz",
        791_918_971,
        "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        unpack="oxford_pets",
    ),
    Download(
        f"{OXFORD}/pets/data/annotations.tar.gz",
        "oxford_pets/annotations.tar.gz",
        19_173_078,
        "sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        unpack="oxford_pets",
    ),
    drive("1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs", "oxford_pets/split_zhou_OxfordPets.json"),
)
FLOWERS = (
    Download(
        f"{OXFORD}/flowers/102/102flowers.tgz",
        "oxford_flowers/102flowers.tgz",
        344_862_509,
        "sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
        unpack="oxford_flowers",
    ),
    Download(
        f"{OXFORD}/flowers/102/imagelabels.mat",
        "oxford_flowers/imagelabels.mat",
        502,
        "sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d",
    ),
    drive("1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0", "oxford_flowers/cat_to_name.json"),
    drive("1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT", "oxford_flowers/split_zhou_OxfordFlowers.json"),
)
FOOD101 = (
    Download(
        "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
        "food-101/food-101.tar.gz",
        4_996_278_331,
        "sha256:d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
        unpack=".",
    ),
    drive("1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl", "food-101/split_zhou_Food101.json"),
)
AIRCRAFT = (
    Download(
        f"{OXFORD}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
        "fgvc-aircraft-2013b/fgvc-aircraft-2013b.tar.gz",
        unpack=".",
    ),
)
# The authors' server is often out of reach.
SUN397 = (
    Download(
        "https://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
        "sun397/SUN397.tar.gz",
        39_077_296_924,
        "sha256:f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec",
        unpack="sun397",
    ),
    drive("1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq", "sun397/split_zhou_SUN397.json"),
)
DTD = (
    Download(
        f"{OXFORD}/dtd/download/dtd-r1.0.1.tar.gz",
        "dtd/dtd-r1.0.1.tar.gz",
        625_239_812,
        "sha256:e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        unpack=".",
    ),
    drive("1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x", "dtd/split_zhou_DescribableTextures.json"),
)
EUROSAT = (
    Download(
        f"{HUB}/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
        "eurosat/EuroSAT.zip",
        checksum="md5:c8fa014336c82ac7804f0398fcb19387",
        unpack="eurosat",
    ),
    drive("1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o", "eurosat/split_zhou_EuroSAT.json"),
)
UCF101 = (
    drive("10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O", "ucf101/UCF-101-midframes.zip", unpack="ucf101"),
    drive("1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y", "ucf101/split_zhou_UCF101.json"),
)
IMAGENET_V2 = (
    Download(
        f"{HUB}/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
        "imagenetv2/imagenetv2-matched-frequency.tar.gz",
        unpack="imagenetv2",
    ),
)
IMAGENET_SKETCH = (
    Download(
        f"{HUB}/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
        "imagenet-sketch/ImageNet-Sketch.zip",
        unpack="imagenet-sketch",
    ),
)
IMAGENET_A = (
    Download(
        f"{BERKELEY}/imagenet-a.tar",
        "imagenet-adversarial/imagenet-a.tar",
        687_552_512,
        "sha256:3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
        unpack="imagenet-adversarial",
    ),
)
IMAGENET_R = (
    Download(
        f"{BERKELEY}/imagenet-r.tar",
        "imagenet-rendition/imagenet-r.tar",
        2_191_079_936,
        "sha256:18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
        unpack="imagenet-rendition",
    ),
)
