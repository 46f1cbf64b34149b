"""A virtual environment for each peer, from pinned requirements.

python benchmarks/peers/environments.py [--folder .bench] [--only NAME ...] [--source NAME=PATH ...] [--retry]
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
FOLDER = REPOSITORY / ".bench"
INSTALL_LIMIT_S = 1800


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One folder with one Python and the packages of `requirements-NAME.txt`."""

    name: str
    peers: tuple[str, ...]
    """Peers that run in it."""
    pythons: tuple[str, ...] = ("3.11", "3.12", "3.13")
    """Versions that it can have, the best first: for 3.11 to 3.13 every peer has wheels, or is pure Python."""
    free_gb: float = 2.0
    """Disk space below which it is not tried. PyTorch with its CUDA packages, which pip takes where it is not told
    of a CPU build, needs 5 GB, and as much again while it is unpacked."""

    def requirements(self) -> list[Path]:
        """Its requirement files; the second, if there is one, is installed without dependencies."""
        files = [HERE / f"requirements-{self.name}.txt", HERE / f"requirements-{self.name}-nodeps.txt"]
        return [file for file in files if file.exists()]


ENVIRONMENTS = (
    Environment(name="aihwkit", peers=("aihwkit-torch", "aihwkit-cpp"), pythons=("3.12", "3.13", "3.14"), free_gb=10.0),
    Environment(name="lightning", peers=("aihwkit-lightning",)),
    Environment(name="crosssim", peers=("crosssim",)),
    Environment(name="brevitas", peers=("brevitas",)),
    Environment(name="memintelli", peers=("memintelli",), pythons=("3.11", "3.12")),
    Environment(name="badcrossbar", peers=("badcrossbar",), free_gb=0.5),
)


class SetUpError(Exception):
    """An environment cannot be made; the message is what a reader of the results gets."""


def log(message: str) -> None:
    """To standard error, at once."""
    print(message, file=sys.stderr, flush=True)


def make_folder(folder: Path) -> Path:
    """The folder of the environments, which keeps itself out of git."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    return folder.resolve()


def find_python(versions: tuple[str, ...]) -> Path:
    """An interpreter of the first version that there is: on PATH, or one of pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for wanted in versions:
        on_path = shutil.which(f"python{wanted}")
        candidates = [Path(sys.executable), *([Path(on_path)] if on_path else [])]
        candidates += sorted(pyenv.glob(f"{wanted}.*/bin/python"), reverse=True)
        for candidate in candidates:
            # Asked, because pyenv puts commands on PATH of versions that are not active, which then fail.
            ask = [str(candidate), "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
            try:
                answer = subprocess.run(ask, capture_output=True, text=True, timeout=60, check=False)
            except OSError:
                continue
            if answer.returncode == 0 and answer.stdout.strip() == wanted:
                return candidate
    raise SetUpError(f"needs Python {' or '.join(versions)}, which is neither on PATH nor in pyenv")


def install(environment: Environment, folder: Path, source: str | None) -> None:
    """Make the environment anew."""
    free_gb = shutil.disk_usage(folder).free / 1e9
    if free_gb < environment.free_gb:
        raise SetUpError(f"needs {environment.free_gb:.0f} GB of free disk, {free_gb:.1f} GB are there")
    python = find_python(environment.pythons)
    place = folder / environment.name
    log(f"{environment.name}: installing into {place} with {python}")
    with (folder / f"{environment.name}.log").open("w") as output:

        def run(*command: str | Path) -> None:
            try:
                subprocess.run(
                    [str(part) for part in command],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    timeout=INSTALL_LIMIT_S,
                    check=True,
                )
            except subprocess.TimeoutExpired:
                raise SetUpError(f"installing took more than {INSTALL_LIMIT_S} s") from None
            except subprocess.CalledProcessError:
                raise SetUpError(reason_in(Path(output.name))) from None

        run(python, "-m", "venv", "--clear", place)
        pip = [place / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
        for file in environment.requirements():
            text = file.read_text()
            if source:  # in the place of what is named by its address
                text = "\n".join(line for line in text.splitlines() if " @ " not in line)
            wanted = folder / f"{environment.name}.txt"
            wanted.write_text(text)
            run(*pip, *(["--no-deps"] if file.name.endswith("-nodeps.txt") else []), "-r", wanted)
        if source:
            run(*pip, source)


def reason_in(output: Path) -> str:
    """The lines of pip's output that say why it failed."""
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error:", "fatal:")) and "subprocess" not in line]
    return "; ".join(dict.fromkeys((errors or lines)[-3:])) or "pip failed without a word"


def set_up(environment: Environment, folder: Path, *, source: str | None = None, retry: bool = False) -> Path:
    """The environment's interpreter; made if it is not there or its requirements have changed.

    What failed once is not tried again until the requirements change, or with `retry`.

    Raises:
        SetUpError: it cannot be made.
    """
    folder = make_folder(folder)
    python = folder / environment.name / "bin" / "python"
    files = "\0".join(file.read_text() for file in environment.requirements())
    digest = hashlib.sha256(files.encode()).hexdigest()
    ready, failed = folder / f"{environment.name}.ready", folder / f"{environment.name}.failed"
    if source is None and python.exists() and ready.exists() and ready.read_text() == digest:
        return python
    if source is None and not retry and failed.exists():
        earlier, _, reason = failed.read_text().partition("\n")
        if earlier == digest:
            raise SetUpError(reason)
    ready.unlink(missing_ok=True)
    try:
        install(environment, folder, source)
    except SetUpError as error:
        failed.write_text(f"{digest}\n{error}")
        raise
    failed.unlink(missing_ok=True)
    ready.write_text(digest)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[one.name for one in ENVIRONMENTS])
    parser.add_argument("--source", nargs="+", metavar="NAME=PATH", default=[], help="install a peer from a checkout")
    parser.add_argument("--retry", action="store_true", help="try again what failed before")
    options = parser.parse_args()
    sources = dict(one.split("=", 1) for one in options.source)
    for environment in ENVIRONMENTS:
        if options.only and environment.name not in options.only:
            continue
        try:
            python = set_up(environment, options.folder, source=sources.get(environment.name), retry=options.retry)
            print(f"{environment.name}: {python}")
        except SetUpError as error:
            print(f"{environment.name}: left out: {error}")


if __name__ == "__main__":
    main()
