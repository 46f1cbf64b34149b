"""Files that are whole or absent, and that are where they are meant to be."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrat.files
from hrat.errors import HratError
from hrat.files import atomic_path, path_within, paths_within, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    assert write_atomic(path, "old").read_text() == "old"
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(f"half {1 // 0}")
    assert path.read_text() == "old"
    assert names(path.parent) == ["a.txt"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path: Path, there: bool) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.txt", tmp_path / "link.txt"
    if there:
        target.write_text("old")
    link.symlink_to(Path("real") / "a.txt")
    write_atomic(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["link.txt", "real"]
    assert names(tmp_path / "real") == ["a.txt"]


def test_links_in_a_circle_and_folders_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="symbolic links"):
        write_atomic(loop, "x")
    with pytest.raises(IsADirectoryError, match="Is a directory; expected a file"):
        write_atomic(tmp_path, "x")
    assert names(tmp_path) == ["loop"]


def test_a_pipe_gets_the_bytes_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, "all of it")
    reader.join(10)
    assert found == [b"all of it"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert names(tmp_path) == ["pipe"]


def test_devices_stay_devices() -> None:
    for path in ("/dev/null", "/dev/full"):
        before = os.stat(path)
        if path == "/dev/null":
            write_atomic(path, "away")
        else:
            with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
                write_atomic(path, "x" * 100_000)
        assert stat.S_ISCHR(os.stat(path).st_mode)
        assert os.stat(path).st_ino == before.st_ino
    assert not [name for name in os.listdir("/dev") if name.endswith(".part")]


def test_standard_output_can_be_named() -> None:
    code = "import hrat.files; hrat.files.write_atomic('/dev/stdout', 'said')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"said"


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths of sockets have to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(OSError, match="is a disk or a socket; expected a file"):
            write_atomic("s", "x")


# ---- what killed processes leave -------------------------------------------------------------------------------------

WRITER = """
import signal, sys, time, hrat.files
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background would leave ignored
with hrat.files.atomic_path(sys.argv[1]) as temporary:
    temporary.write_text(sys.argv[2])
    print("writing", flush=True)
    sys.stdin.readline()
"""


def writer(path: Path, text: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_process_left_is_removed_by_the_next_and_a_living_one_is_let_be(tmp_path: Path) -> None:
    path = tmp_path / "a[1].txt"
    killed = writer(path, "half")
    killed.kill()
    killed.communicate()
    living = writer(path, "theirs")
    foreign = tmp_path / ".a[1].txt.00000000-999999999-abc_defg.part"  # of another machine
    foreign.write_text("theirs")
    assert len(names(tmp_path)) == 2  # the living one has removed what the killed one left
    write_atomic(path, "mine")
    assert path.read_text() == "mine"
    living.communicate("go on\n")
    assert living.returncode == 0
    assert path.read_text() == "theirs"
    assert names(tmp_path) == [foreign.name, "a[1].txt"]


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    texts = [str(k) * 100_000 for k in range(8)]
    threads = [
        threading.Thread(target=lambda text=text: [write_atomic(path, text) for _ in range(5)]) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_a_process_that_is_told_to_end_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    ended = writer(path, "half")
    ended.send_signal(signal.SIGINT)
    ended.communicate()
    time.sleep(0.05)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["n" * 251, "ü" * 125])
def test_a_name_as_long_as_a_file_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    assert write_atomic(tmp_path / f"{name}.txt", "x").read_text() == "x"
    with pytest.raises(OSError, match="too long"):
        write_atomic(tmp_path / ("n" * 256), "x")


# ---- names as paths --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../x", "../../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b", "a\nb", "n" * 252, "ü" * 126]
)
def test_a_name_that_leads_elsewhere_or_is_none_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HratError, match="the name of a file"):
        path_within(tmp_path, name, suffix=".csv")
    if len(name) < 100:
        with pytest.raises(HratError, match="the name of a file"):
            path_within(tmp_path, name, "a.csv")


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_no_name_leads_out_of_its_folder(name: str) -> None:
    try:
        path = path_within("/some/folder", name, suffix=".csv")
    except HratError:
        return
    assert path.parent == Path("/some/folder")
    assert path.name == f"{name}.csv"
    assert os.path.normpath(path) == str(path)


def test_links_that_lead_out_are_refused_and_others_are_not(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (root / "away").symlink_to(outside)
    (root / "a.csv").symlink_to(outside / "a.csv")
    (root / "b.csv").symlink_to("sub/b.csv")
    (tmp_path / "link").symlink_to(root)
    for parts in (["away", "x"], ["a.csv"]):
        with pytest.raises(HratError, match=r"is a link that leads to .*outside.*: remove it"):
            path_within(root, *parts)
    assert path_within(root, "b.csv") == root / "b.csv"
    assert path_within(tmp_path / "link", "sub", "x", suffix=".csv") == tmp_path / "link" / "sub" / "x.csv"


@pytest.mark.parametrize("pair", [("A", "a"), ("fc", "FC"), ("é", "e\u0301")])
def test_names_that_a_file_system_takes_for_one_are_refused_there(
    tmp_path: Path, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hrat.files, "_folds_case", lambda folder: False)
    assert len(set(paths_within(tmp_path, [*pair, "other"], ".csv").values())) == 3
    monkeypatch.setattr(hrat.files, "_folds_case", lambda folder: True)
    with pytest.raises(HratError, match="would be one file"):
        paths_within(tmp_path, [*pair, "other"], ".csv")
    paths_within(tmp_path, ["a", "b"])


def test_whether_a_file_system_tells_capitals_apart_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    folds = (tmp_path / "A").exists()
    assert hrat.files._folds_case(tmp_path) == folds
    assert hrat.files._folds_case(tmp_path / "not" / "there") == folds


@pytest.mark.parametrize("name", ["con", "AUX", "nul.x", "com1", "a:b", "a?", "a."])
def test_what_windows_cannot_name_is_refused_there_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path_within("/some/folder", name)
    monkeypatch.setattr(hrat.files, "WINDOWS", True)
    with pytest.raises(HratError, match="on Windows"):
        path_within("/some/folder", name)
