"""The public packages that the recipe reads, and where their files lie once unpacked."""

import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

NPM_PACKAGES = {
    "iconify": "@iconify/json@2.2.535",
    "mdi": "@mdi/svg@7.4.47",
    "lucide": "lucide-static@1.62.0",
    "emojibase": "emojibase-data@17.0.0",
    "cldr": "cldr-annotations-full@48.2.0",
}
DEBIAN_PACKAGES = ("wordnet-base", "openclipart-png", "dataset-fashion-mnist")


@dataclass(frozen=True)
class Sources:
    """Paths below one work folder."""

    work: Path

    @property
    def folder(self) -> Path:
        """Where the packages are unpacked, one folder a package."""
        return self.work / "sources"

    def npm(self, key: str) -> Path:
        """Root of the unpacked npm package with this key of `NPM_PACKAGES`."""
        return self.folder / key / "package"

    @property
    def wordnet(self) -> Path:
        """Folder of `data.noun` and `index.noun`."""
        return self.folder / "debian" / "usr" / "share" / "wordnet"

    @property
    def openclipart(self) -> Path:
        """Folder of the public-domain colour clip art."""
        return self.folder / "debian" / "usr" / "share" / "openclipart" / "png"

    @property
    def fashion_mnist(self) -> Path:
        """Folder of the four idx files: read by `evaluate` only."""
        return self.folder / "debian" / "usr" / "share" / "datasets" / "fashion-mnist"


def _run(command: list[str], cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def download(work: Path) -> Sources:
    """Fetches and unpacks every package that is not there yet, through npm and apt-get."""
    sources = Sources(work)
    sources.folder.mkdir(parents=True, exist_ok=True)
    for key, package in NPM_PACKAGES.items():
        target = sources.folder / key
        if (target / "package").is_dir():
            continue
        archive = _run(["npm", "pack", "--silent", package], sources.folder).split()[-1]
        with tarfile.open(sources.folder / archive) as packed:
            packed.extractall(target, filter="data")
        print(f"unpacked {package}")
    for package in DEBIAN_PACKAGES:
        stamp = sources.folder / f"{package}.unpacked"
        if stamp.exists():
            continue
        _run(["apt-get", "download", package], sources.folder)
        archive = str(next(sources.folder.glob(f"{package}_*.deb")).name)
        _run(["dpkg", "-x", archive, "debian"], sources.folder)
        stamp.write_text(archive, encoding="utf-8")
        print(f"unpacked {archive}")
    return sources
