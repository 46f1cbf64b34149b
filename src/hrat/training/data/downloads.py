"""Files of public mirrors, fetched with check-sums."""

from __future__ import annotations

import importlib
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hrat.errors import DataError
from hrat.files import write_atomic

__all__ = ["Download", "cache_folder", "fetch"]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file on a public mirror."""

    url: str
    md5: str
    members: tuple[str, ...] = ()
    """Names (without folders) of the files to extract from a tar archive."""

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.url).name

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that `fetch` leaves behind."""
        return self.members or (self.name,)


def _pooch() -> Any:
    # Imported when first needed, so that importing hrat stays quick; Any, since pooch has no type hints.
    return importlib.import_module("pooch")


def cache_folder() -> Path:
    """Folder of downloaded data sets, by the conventions of the operating system."""
    return Path(_pooch().os_cache("hrat"))


def fetch(download: Download, folder: Path) -> None:
    """Fetch a file into a folder and check its sum; an archive is unpacked and then removed.

    Raises:
        DataError: the mirror cannot be reached, the file is not the one that is known, or the folder cannot be written.
    """
    try:
        known_hash = f"md5:{download.md5}"
        archive = Path(_pooch().retrieve(download.url, known_hash=known_hash, fname=download.name, path=folder))
        if download.members:
            _unpack(archive, download.members, folder)
            archive.unlink()
    except (OSError, ValueError, tarfile.TarError) as error:  # the errors of requests are OSErrors
        raise DataError(f"{download.url} could not be fetched: {error}") from error


def _unpack(archive: Path, members: tuple[str, ...], folder: Path) -> None:
    # Files are written under their bare names, so an archive cannot reach outside the folder.
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            content = tar.extractfile(member) if name in members else None
            if content is not None:
                write_atomic(folder / name, content.read())
