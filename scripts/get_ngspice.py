#!/usr/bin/env python3
"""Fetch a current ngspice from Debian 13 into a folder, without root and beside whatever the system has.

    python scripts/get_ngspice.py [DEST]        DEST is .ngspice unless given; then DEST/bin/ngspice runs

Debian 12 and Ubuntu 22.04 ship ngspice 39 and 36, whose only matrix solver (Sparse 1.3) takes minutes where the KLU
solver of ngspice 42 and later takes seconds. This script unpacks Debian 13's package with all libraries that it needs,
down to the C library, and starts it with its own dynamic loader, so that nothing of the system is touched or used.

Each package is checked against the SHA-256 in Debian's index, and the index against the one in the Release file. The
Release file itself is taken on trust, as its signature needs GnuPG. An interrupted run goes on where it stopped; DEST
appears when it is whole. Linux on amd64 or arm64, Python 3.11.4 or later, nothing beyond the standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import io
import lzma
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MIRROR = os.environ.get("HRAT_DEBIAN_MIRROR", "http://deb.debian.org/debian")
SUITE = "trixie"
PACKAGE = "ngspice"
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
NOT_NEEDED = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/X11/locale/", "usr/share/i18n/")
TIMEOUT_S = 60
PAUSES_S = (1, 5)

Index = dict[str, dict[str, str]]


class GetError(Exception):
    """What went wrong, in words for the user."""


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dest", nargs="?", default=".ngspice", type=Path, help="folder to make (default: .ngspice)")
    dest: Path = parser.parse_args().dest.absolute()
    try:
        found = version_of(dest / "bin" / "ngspice")
        if found:
            print(f"{dest}/bin/ngspice is there already: {found}")
            return 0
        get(dest)
    except (GetError, OSError) as error:
        print(f"get_ngspice: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("get_ngspice: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def get(dest: Path) -> None:
    """Build beside `dest` and rename."""
    architecture = MACHINES.get(platform.machine().lower())
    if sys.platform != "linux" or architecture is None:
        raise GetError(
            f"expected Linux on amd64 or arm64, got {sys.platform} on {platform.machine()}; install ngspice 42 or "
            "later by the means of this system (for example `brew install ngspice`) and set HRAT_NGSPICE to its path"
        )
    building = dest.with_name(f"{dest.name}.part")
    (building / "debs").mkdir(parents=True, exist_ok=True)
    # A root that an earlier run left half unpacked is not worth trusting.
    shutil.rmtree(building / "root", ignore_errors=True)
    index = fetch_index(architecture)
    names = closure(index, PACKAGE)
    size = sum(int(index[name]["Size"]) for name in names) / 1e6
    print(f"{PACKAGE} {index[PACKAGE]['Version']} and {len(names) - 1} packages it needs, {size:.0f} MB, from {MIRROR}")
    for name in names:
        unpack(fetch_package(index[name], building / "debs"), building / "root")
    write_wrapper(building, dest, TRIPLETS[architecture])
    found = version_of(building / "bin" / "ngspice")
    if not found:
        raise GetError(f"{building}/bin/ngspice does not start; run it by hand to see why, or remove {building}")
    shutil.rmtree(building / "debs")
    if dest.exists():
        shutil.rmtree(dest)
    building.rename(dest)
    print(f"{dest}/bin/ngspice: {found}")


# ---- Debian's index --------------------------------------------------------------------------------------------------


def fetch_index(architecture: str) -> Index:
    """The packages of the suite by name, checked against the Release file."""
    path = f"main/binary-{architecture}/Packages.xz"
    release = download(f"{MIRROR}/dists/{SUITE}/Release").decode()
    sums = release.partition("\nSHA256:\n")[2]
    found = re.search(rf"^ ([0-9a-f]{{64}}) +\d+ {re.escape(path)}$", sums, re.MULTILINE)
    if not found:
        raise GetError(f"{MIRROR}/dists/{SUITE}/Release names no {path}; is HRAT_DEBIAN_MIRROR a Debian mirror?")
    packed = download(f"{MIRROR}/dists/{SUITE}/{path}")
    check_sum(packed, found[1], path)
    return {fields["Package"]: fields for fields in paragraphs(lzma.decompress(packed).decode())}


def paragraphs(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a Debian control file, each field on one line."""
    for stanza in text.split("\n\n"):
        lines = (line.partition(": ") for line in stanza.replace("\n ", " ").splitlines())
        fields = {key: value for key, separator, value in lines if separator}
        if fields:
            yield fields


def closure(index: Index, first: str) -> list[str]:
    """`first` and all that it depends on, sorted."""
    if first not in index:
        raise GetError(f"Debian {SUITE} has no package {first}")
    providers = providers_of(index)
    needed, todo = {first}, [first]
    while todo:
        fields = index[todo.pop()]
        for clause in ", ".join(filter(None, (fields.get("Pre-Depends"), fields.get("Depends")))).split(", "):
            # Alternatives stand in order of preference; one that is chosen already is as good.
            options = [name for option in clause.split(" | ") for name in real_names(option, index, providers)]
            if not options or needed.intersection(options):
                continue
            needed.add(options[0])
            todo.append(options[0])
    return sorted(needed)


def providers_of(index: Index) -> dict[str, list[str]]:
    """Virtual package -> the packages that provide it."""
    providers: dict[str, list[str]] = {}
    for name, fields in index.items():
        for provided in fields.get("Provides", "").split(", "):
            if provided:
                providers.setdefault(bare(provided), []).append(name)
    return providers


def real_names(option: str, index: Index, providers: dict[str, list[str]]) -> list[str]:
    """Packages that satisfy one alternative such as `libc6 (>= 2.38)` or `debconf-2.0`."""
    name = bare(option)
    return [name] if name in index else providers.get(name, [])


def bare(option: str) -> str:
    """The name without version and architecture."""
    return option.strip().partition(" ")[0].partition(":")[0]


# ---- packages --------------------------------------------------------------------------------------------------------


def fetch_package(fields: dict[str, str], folder: Path) -> Path:
    """Download a package unless an earlier run has it whole."""
    path = folder / f"{fields['Package']}_{fields['SHA256'][:16]}.deb"
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == fields["SHA256"]:
        return path
    data = download(f"{MIRROR}/{fields['Filename']}")
    check_sum(data, fields["SHA256"], fields["Filename"])
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.rename(path)
    return path


def unpack(package: Path, root: Path) -> None:
    """The files of a .deb: an `ar` archive with a member `data.tar.*`."""
    member = data_member(package)
    root.mkdir(exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(member)) as tar:
        tar.extractall(root, filter=kept)


def data_member(package: Path) -> bytes:
    """The member `data.tar.*`; each has a header of 60 bytes, name in the first 16, size in decimal at 48."""
    data = package.read_bytes()
    at = len(b"!<arch>\n")
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode().strip(), int(data[at + 48 : at + 58])
        at += 60
        if name.startswith("data.tar"):
            return data[at : at + size]
        at += size + size % 2  # members begin at even places
    raise GetError(f"{package} holds no data.tar; expected a Debian package")


def kept(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo | None:
    """Leave out documentation, and whatever points outside of the root."""
    if member.name.removeprefix("./").startswith(NOT_NEEDED):
        return None
    try:
        return tarfile.data_filter(member, root)
    except tarfile.FilterError:
        return None


# ---- the wrapper -----------------------------------------------------------------------------------------------------

WRAPPER = """\
#!/bin/sh
# ngspice of Debian 13 with its own libraries and loader; made by scripts/get_ngspice.py.
here=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
export SPICE_LIB_DIR="$here/root/usr/share/ngspice" SPICE_SCRIPTS="$here/scripts"
exec "$here/root/{loader}" --library-path "{libraries}" "$here/root/usr/bin/ngspice" "$@"
"""


def write_wrapper(building: Path, dest: Path, triplet: str) -> None:
    """`bin/ngspice`, and a start script `spinit` that finds the code models where `dest` will have them."""
    root = building / "root"
    loaders = sorted(root.glob(f"usr/lib/{triplet}/ld-linux-*.so.*")) + sorted(root.glob("usr/lib*/ld-linux-*.so.*"))
    if not loaders:
        raise GetError(f"the C library in {root} has no loader; remove {building} and try again")
    folders = [f"usr/lib/{triplet}", "usr/lib", f"lib/{triplet}", "lib"]
    folders += [str(folder.relative_to(root)) for folder in sorted(root.glob(f"usr/lib/{triplet}/*")) if holds(folder)]
    libraries = ":".join(f"$here/root/{folder}" for folder in folders if (root / folder).is_dir())
    wrapper = building / "bin" / "ngspice"
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(WRAPPER.format(loader=loaders[0].relative_to(root), libraries=libraries))
    wrapper.chmod(0o755)
    scripts = building / "scripts"
    shutil.copytree(root / "usr/share/ngspice/scripts", scripts, dirs_exist_ok=True)
    spinit = scripts / "spinit"
    spinit.write_text(spinit.read_text().replace("codemodel /usr/", f"codemodel {dest}/root/usr/"))


def holds(folder: Path) -> bool:
    """Whether shared libraries that others link to lie in this folder (such as those of BLAS)."""
    return folder.is_dir() and any(folder.glob("lib*.so.[0-9]*"))


def version_of(program: Path) -> str | None:
    """What `--version` says, in one line; None if the program is missing or does not start."""
    if not program.exists():
        return None
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (line.strip("* ") for line in answer.stdout.splitlines() if "ngspice-" in line or "KLU" in line)
    return ", ".join(lines) or None


# ---- network ---------------------------------------------------------------------------------------------------------


def download(url: str) -> bytes:
    """The content of `url`; a network that stumbles gets another chance."""
    for pause_s in (*PAUSES_S, None):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                content: bytes = answer.read()
                return content
        except (OSError, ValueError, http.client.HTTPException) as error:
            if pause_s is not None:
                time.sleep(pause_s)
                continue
            raise GetError(
                f"cannot fetch {url}: {error}; check the network (a proxy goes into http_proxy), or name another "
                "mirror in HRAT_DEBIAN_MIRROR; what has been fetched is kept for the next try"
            ) from error
    raise AssertionError("the last try returns or raises")


def check_sum(data: bytes, expected: str, what: str) -> None:
    """Refuse what is not what Debian's index says."""
    got = hashlib.sha256(data).hexdigest()
    if got != expected:
        raise GetError(f"{what}: expected SHA-256 {expected}, got {got}; the file is damaged or the mirror is stale")


if __name__ == "__main__":
    sys.exit(main())
