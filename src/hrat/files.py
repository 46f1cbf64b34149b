"""Files that are written whole or not at all, and only where they are meant to be."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import stat
import tempfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from hrat.errors import HratError
from hrat.names import check_name, one_line

__all__ = ["atomic_path", "path_within", "paths_within", "write_atomic"]

WINDOWS = os.name == "nt"
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[<>:\"|?*].*|.*[. ]", re.IGNORECASE)
"""Names that Windows takes for a device, or cannot have for a file."""
MOST_BYTES = 255
"""Of the name of a file, on all common file systems."""
MOST_BYTES_KEPT = 180
"""Of a file's name in that of its temporary file, which has to fit too."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    Whatever stops the block (an exception, a full disk, Ctrl-C), the file that stood at `path` before is left
    untouched and the temporary one is removed. The data is flushed to the disk before the rename, so that a power cut
    leaves the old file or the new one, never half of either. What a killed process left of the same file is removed.

    A link is followed: it stays, and the file that it leads to is the one that is replaced. A pipe or a character
    device stays too: it is sent the bytes when all of them are there.

    Raises:
        OSError: the folder cannot be written, the disk is full, or `path` is a folder, a socket or a disk.
    """
    target = Path(path)
    kind = _kind(target)
    if kind is not None and not stat.S_ISREG(kind):
        with _sent_to(target, kind) as temporary:
            yield temporary
        return
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = _prefix(target)
    _remove_left_over(target.parent, prefix)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f"{prefix}{_machine()}-{os.getpid()}-", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes the file private; give it the rights that an ordinary new file would have.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write `content` to `path` whole or not at all, and return the path.

    Raises:
        OSError: as for `atomic_path`.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def path_within(root: str | os.PathLike[str], *parts: str, suffix: str = "") -> Path:
    """The path of a file in a folder, where parts of it are names that come from somebody else.

    Args:
        root: the folder.
        parts: names, one below the other; each is that of one file or folder, and leads nowhere else.
        suffix: behind the last part, such as `.csv`.

    Raises:
        HratError: a part that cannot be the name of a file, or a link in the folder that leads out of it.
    """
    path = Path(root)
    for place, part in enumerate(parts, start=1):
        path /= _file_name(part, suffix if place == len(parts) else "")
    inside, real = Path(os.path.realpath(root)), Path(os.path.realpath(path))
    if inside not in real.parents:
        raise HratError(f"{path} is a link that leads to {real}; expected nothing that leads out of {root}: remove it")
    return path


def paths_within(root: str | os.PathLike[str], names: Iterable[str], suffix: str = "") -> dict[str, Path]:
    """The path of a file for each name, no two of which are one file.

    Raises:
        HratError: as for `path_within`; or two names that differ in nothing that the file system tells apart.
    """
    paths = {name: path_within(root, name, suffix=suffix) for name in names}
    seen: dict[str, str] = {}
    for name in paths:
        twin = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if twin != name and _folds_case(Path(root)):
            raise HratError(
                f"'{twin}' and '{name}' would be one file in {root}, where capital letters count for nothing; expected "
                "names that differ in more, or a folder on another file system"
            )
    return paths


def _file_name(name: str, suffix: str) -> str:
    check_name(name, "the name of a file", limit=MOST_BYTES, error=HratError)
    whole = f"{name}{suffix}"
    printable_name = one_line(whole, 80)
    if {"/", "\\", os.sep} & set(name) or name in (os.curdir, os.pardir):
        raise HratError(
            f"'{printable_name}' cannot be the name of a file: expected a name without / and \\, and not . or .."
        )
    if WINDOWS and RESERVED.fullmatch(whole):
        raise HratError(f"'{printable_name}' cannot be the name of a file on Windows; expected another name")
    size = len(os.fsencode(whole))
    if size > MOST_BYTES:
        raise HratError(
            f"'{printable_name}' cannot be the name of a file: expected {MOST_BYTES} bytes or less, got {size}"
        )
    return whole


def _folds_case(folder: Path) -> bool:
    """Whether a folder is on a file system that takes `A` and `a` for one name; judged by names that are there."""
    for place in (folder.absolute(), *folder.absolute().parents):
        other = place.with_name(place.name.swapcase()) if place.name else place
        if other != place and place.exists():
            return other.exists() and other.samefile(place)
    return False


def _kind(target: Path) -> int | None:
    """Mode of what stands at a path, behind all links; None where nothing does.

    Raises:
        OSError: it is a folder, or something that takes no bytes.
    """
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, f"{os.strerror(errno.EISDIR)}; expected a file", str(target))
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise OSError(errno.EINVAL, "is a disk or a socket; expected a file", str(target))
    return mode


@contextmanager
def _sent_to(target: Path, mode: int) -> Iterator[Path]:
    """A temporary path whose bytes a pipe or device gets when the block ends well."""
    with tempfile.TemporaryDirectory(prefix="hrat-", ignore_cleanup_errors=True) as folder:
        temporary = Path(folder) / "whole"
        temporary.touch()
        yield temporary
        try:
            with temporary.open("rb") as source, open(os.open(target, os.O_WRONLY), "wb") as sink:
                shutil.copyfileobj(source, sink)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error  # a write alone names no file


# ---- what killed processes leave -------------------------------------------------------------------------------------
#
# A temporary file is called `.NAME.MACHINE-PID-RANDOM.part`. Several processes may write the same file at once, each
# its own temporary one; the last rename wins. So only that of a process that lives no more is removed, and only on the
# machine, and in the container, where its number means something.


def _prefix(target: Path) -> str:
    name = target.name
    return f".{name if len(os.fsencode(name)) <= MOST_BYTES_KEPT else f'{zlib.crc32(os.fsencode(name)):08x}'}."


@cache
def _machine() -> str:
    """A short mark of the machine, and of the container where process numbers are its own."""
    try:
        numbers = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        numbers = 0
    return f"{zlib.crc32(f'{platform.node()}/{numbers}'.encode()):08x}"


def _remove_left_over(folder: Path, prefix: str) -> None:
    if os.name != "posix":
        return  # elsewhere there is no asking for a process without ending it
    mine = re.compile(rf"{re.escape(prefix + _machine())}-(\d+)-\w+\.part")
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = mine.fullmatch(entry.name)
            if match and not _lives(int(match[1])):
                with suppress(OSError):
                    os.unlink(entry)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
