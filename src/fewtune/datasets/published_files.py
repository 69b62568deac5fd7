"""Published files of datasets: addresses, sizes and checksums, as others have checked them.

Sizes and SHA-256 are those that TFDS keeps of the same files, MD5 those of torchvision, the split
files are CoOp's. A file of the Hub without a checksum here is compared with the one that the Hub
publishes. Folders are those of CoOp, where the readers look.
"""

from __future__ import annotations

from fewtune.datasets.declaration import Download, Shards

OXFORD = "https://www.robots.ox.ac.uk/~vgg/data"
HUB = "https://huggingface.co/datasets"
BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"


def wds(name: str) -> tuple[Download | Shards, ...]:
    """Return what is downloaded of a task of VTAB, by the name of its shards after "wds_".

    The authors' files come first where VTAB's 1,000 images can be told from them; the shards of
    CLIP benchmark are smaller in part, and can be had split by split.
    """
    return (*OF_VTAB.get(name, ()), Shards(f"clip-benchmark/wds_{name}"))


def drive(identifier: str, path: str, unpack: str | None = None) -> Download:
    """Return a file on Google Drive, where nobody has published sizes and checksums."""
    host = "https://drive.usercontent.google.com/download"
    return Download(f"{host}?id={identifier}&export=download&confirm=t", path, unpack=unpack)


def split_by_hand(file: str, folder: str, images: str) -> str:
    """Return how to get a split file of CoOp, which lies in a folder next to the images."""
    return (
        f"CoOp publishes {file} on Google Drive (DATASETS.md of github.com/KaiyangZhou/CoOp). Put "
        f"it into {folder}, next to {images}."
    )


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
CIFAR100 = (
    Download(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "cifar-100-binary/cifar-100-binary.tar.gz",
        168_513_733,
        "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        unpack=".",
    ),
)
FLOWER_SPLITS = Download(
    f"{OXFORD}/flowers/102/setid.mat",
    "oxford_flowers/setid.mat",
    14_989,
    "sha256:46b8678f91fd95d3c8f4feab80d271a6c834a1dd896fe29fd3e6ad9ce5c8dccd",
)
CLEVR = (
    Download(
        "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip",
        "CLEVR_v1.0/CLEVR_v1.0.zip",
        19_021_600_724,
        "sha256:5cd61cf1096ed20944df93c9adb31e74d189b8459a94f54ba00090e5c59936d1",
        unpack=".",
    ),
)
DSPRITES_FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
DSPRITES = (
    Download(
        f"https://github.com/google-deepmind/dsprites-dataset/raw/master/{DSPRITES_FILE}",
        f"dsprites/{DSPRITES_FILE}",
    ),
)


def kitti(name: str, size_bytes: int, sha256: str) -> Download:
    """Return an archive of KITTI's object detection."""
    host = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
    path = f"kitti/{name}"
    return Download(f"{host}/{name}", path, size_bytes, f"sha256:{sha256}", unpack="kitti")


KITTI = (
    kitti(
        "data_object_image_2.zip",
        12_569_945_557,
        "351c5a2aa0cd9238b50174a3a62b846bc5855da256b82a196431d60ff8d43617",
    ),
    kitti(
        "data_object_label_2.zip",
        5_601_213,
        "4efc76220d867e1c31bb980bbf8cbc02599f02a9cb4350effa98dbb04aaed880",
    ),
    kitti(
        "devkit_object.zip",
        63_778,
        "cfde67e531832618ea0fd4844f91e34a45068025e2bef79e278cb812dc2537d0",
    ),
)


def svhn(split: str, size_bytes: int, sha256: str) -> Download:
    """Return a matrix of SVHN."""
    name = f"{split}_32x32.mat"
    url = f"http://ufldl.stanford.edu/housenumbers/{name}"
    return Download(url, f"svhn/{name}", size_bytes, f"sha256:{sha256}")


SVHN = (
    svhn("train", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
    svhn("test", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
)


def norb(name: str, size_bytes: int, sha256: str) -> Download:
    """Return a matrix of smallNORB; it is read as it comes."""
    file = f"smallnorb-5x{name}.mat.gz"
    url = f"https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/{file}"
    return Download(url, f"smallnorb/{file}", size_bytes, f"sha256:{sha256}")


TRAINING, TESTING = "46789x9x18x6x2x96x96-training", "01235x9x18x6x2x96x96-testing"
SMALLNORB = (
    norb(
        f"{TRAINING}-dat",
        131_896_188,
        "5ffd6272a07d32695ee1082a26a41a93a37aab8c28da047f8c34ed348d214873",
    ),
    norb(
        f"{TRAINING}-cat", 348, "2784e542c1922060691090952b6cd6278879a216c90f81476f0f00256d42cdaa"
    ),
    norb(
        f"{TRAINING}-info",
        71_052,
        "de7eb932ebe7a4ee16217fead60660d0eb3d23632c2f4d1c51f88c501c17bf32",
    ),
    norb(
        f"{TESTING}-dat",
        130_799_817,
        "cf7104eed3e51174d2f65b66d1e5878b9da233b886f161b0d88f4510ba2c7474",
    ),
    norb(f"{TESTING}-cat", 347, "ecaf6d5bb8c3bc5eab9cf0258f6d2198dd474e016e374836fc097f2e5ff509ff"),
    norb(
        f"{TESTING}-info",
        10_428,
        "16adf314226327ee006d1a44db8cfef52773c06c829951d5653a9f6f310248a2",
    ),
)
# By the name of the shards.
OF_VTAB: dict[str, tuple[Download, ...]] = {
    "vtab-cifar100": CIFAR100,
    "vtab-dtd": DTD[:1],
    "vtab-flowers": (*FLOWERS[:2], FLOWER_SPLITS),
    "vtab-pets": OXFORD_PETS[:2],
    "vtab-svhn": SVHN,
    "vtab-eurosat": EUROSAT[:1],
    "vtab-clevr_count_all": CLEVR,
    "vtab-clevr_closest_object_distance": CLEVR,
    "vtab-kitti_closest_vehicle_distance": KITTI,
    "vtab-dsprites_label_x_position": DSPRITES,
    "vtab-dsprites_label_orientation": DSPRITES,
    "vtab-smallnorb_label_azimuth": SMALLNORB,
    "vtab-smallnorb_label_elevation": SMALLNORB,
}
