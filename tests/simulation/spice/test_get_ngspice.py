"""The script that fetches ngspice: the parts of it that need no network."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "get_ngspice.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("get_ngspice", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


INDEX = """\
Package: ngspice
Depends: libc6 (>= 2.38), liba | libb,
 libd
Size: 1

Package: libc6
Pre-Depends: virtual-thing
Description: text
 that goes on: here

Package: libb
Depends: libc6

Package: real-thing
Provides: virtual-thing (= 1), other

Package: unrelated
"""


def test_the_closure_has_alternatives_and_virtual_packages(script: ModuleType) -> None:
    index = {fields["Package"]: fields for fields in script.paragraphs(INDEX)}
    assert script.closure(index, "ngspice") == ["libb", "libc6", "ngspice", "real-thing"]
    with pytest.raises(script.GetError, match="no package missing"):
        script.closure(index, "missing")


def test_packages_are_unpacked_and_nothing_leaves_the_root(script: ModuleType, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:xz") as tar:
        for name in ("./usr/bin/ngspice", "./usr/share/doc/ngspice/copyright", "../outside"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("./usr/lib/absolute")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    data = packed.getvalue()
    package = tmp_path / "p.deb"
    heads = [(b"debian-binary", b"2.0\n"), (b"control.tar.xz", b"odd"), (b"data.tar.xz", data)]
    body = b"".join(
        name.ljust(16) + b" " * 32 + str(len(part)).encode().ljust(10) + b"`\n" + part + b"\n" * (len(part) % 2)
        for name, part in heads
    )
    package.write_bytes(b"!<arch>\n" + body)
    script.unpack(package, tmp_path / "root")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if not path.is_dir())
    assert found == ["p.deb", "root/usr/bin/ngspice"]
    package.write_bytes(b"!<arch>\n")
    with pytest.raises(script.GetError, match=r"holds no data\.tar"):
        script.unpack(package, tmp_path / "root")


def test_wrong_sums_and_no_network_are_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(script.GetError, match="expected SHA-256 00, got"):
        script.check_sum(b"x", "00", "file")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(script, "MIRROR", "http://127.0.0.1:9/debian")
    monkeypatch.setattr(sys, "argv", ["get_ngspice.py", str(tmp_path / "dest")])
    assert script.main() == 1
    assert "check the network" in capsys.readouterr().err
    assert not (tmp_path / "dest").exists()


def test_what_works_already_is_left_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapper = tmp_path / "bin" / "ngspice"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/bin/sh\necho '** ngspice-44.2 : program'\n")
    wrapper.chmod(0o755)
    monkeypatch.setattr(script, "MIRROR", "http://127.0.0.1:9/debian")
    monkeypatch.setattr(sys, "argv", ["get_ngspice.py", str(tmp_path)])
    assert script.main() == 0
    assert "is there already: ngspice-44.2" in capsys.readouterr().out
