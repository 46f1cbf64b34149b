"""The public data sets: their files, their numbers, and their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hrat.training.data.downloads import Download

__all__ = ["DIGITS", "LAYOUTS", "MNIST_MEAN", "MNIST_STD", "PUBLIC", "Format", "Layout", "PublicSet"]

Format = Literal["idx", "cifar10", "cifar100"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of a folder of one format."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    names: str | None = None
    """Text file of class names."""
    gzip: bool = False
    """Whether a file may also be there as `<name>.gz`."""

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files."""
        return (*self.train, *self.test, *((self.names,) if self.names else ()))

    def find(self, folder: Path, name: str) -> Path | None:
        """The file in the folder, plain or else gzipped where that is allowed; None where there is neither."""
        candidates = (folder / name, folder / f"{name}.gz") if self.gzip else (folder / name,)
        return next((path for path in candidates if path.is_file()), None)

    def missing(self, folder: Path, names: Sequence[str] | None = None) -> list[str]:
        """Which of the files, or of those that `names` lists, the folder lacks."""
        return [name for name in (self.files if names is None else names) if self.find(folder, name) is None]

    def describe(self) -> str:
        """The files in words, for a message."""
        return ", ".join(self.files) + (" (each of them plain or as .gz)" if self.gzip else "")


LAYOUTS: dict[Format, Layout] = {
    "idx": Layout(
        train=("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        test=("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        gzip=True,
    ),
    "cifar10": Layout(
        train=tuple(f"data_batch_{batch}.bin" for batch in range(1, 6)),
        test=("test_batch.bin",),
        names="batches.meta.txt",
    ),
    "cifar100": Layout(train=("train.bin",), test=("test.bin",), names="fine_label_names.txt"),
}


@dataclass(frozen=True, kw_only=True)
class PublicSet:
    """A public data set: its content and its source."""

    format: Format
    classes: tuple[str, ...] | None = None
    """Names of the classes; None: read from the file of class names."""
    num_classes: int = 10
    num_coarse: int = 0
    """CIFAR-100 only: values of a record's first label, which is not used."""
    mean: tuple[float, ...]
    """Mean and standard deviation of each channel of train, where a full pixel is 1; as is customary for the set."""
    std: tuple[float, ...]
    sizes: tuple[int, int]
    """Images in train and in test."""
    downloads: tuple[Download, ...]


def _idx_downloads(mirror: str, md5s: Sequence[str]) -> tuple[Download, ...]:
    names = LAYOUTS["idx"].files
    return tuple(Download(url=f"{mirror}{name}.gz", md5=md5) for name, md5 in zip(names, md5s, strict=True))


def _cifar_downloads(archive: str, md5: str, format: Format) -> tuple[Download, ...]:
    return (Download(url=f"https://www.cs.toronto.edu/~kriz/{archive}", md5=md5, members=LAYOUTS[format].files),)


DIGITS = tuple("0123456789")
MNIST_MEAN, MNIST_STD = (0.1307,), (0.3081,)

PUBLIC: dict[str, PublicSet] = {
    # Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
    "mnist": PublicSet(
        format="idx",
        classes=DIGITS,
        mean=MNIST_MEAN,
        std=MNIST_STD,
        sizes=(60_000, 10_000),
        downloads=_idx_downloads(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    # H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", arXiv:1708.07747, 2017.
    "fashion-mnist": PublicSet(
        format="idx",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mean=(0.2860,),
        std=(0.3530,),
        sizes=(60_000, 10_000),
        downloads=_idx_downloads(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
    # A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; the next one too.
    "cifar10": PublicSet(
        format="cifar10",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        sizes=(50_000, 10_000),
        downloads=_cifar_downloads("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", "cifar10"),
    ),
    "cifar100": PublicSet(
        format="cifar100",
        num_classes=100,
        num_coarse=20,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        sizes=(50_000, 10_000),
        downloads=_cifar_downloads("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", "cifar100"),
    ),
}
