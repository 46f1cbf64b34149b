"""The documentation as a site: it is built without a warning, its notebooks run, and no link in it is broken."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("myst_nb", reason="the documentation's packages are not installed; pip install hrat[docs]")

ROOT = Path(__file__).parents[1]


class Page(HTMLParser):
    """Links, pictures and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            if (tag in ("a", "link") and name == "href") or (tag in ("img", "script") and name == "src"):
                self.targets.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", folder / "trees"]
    cache_at = f"nb_execution_cache_path={folder / 'cache'}"
    done = subprocess.run(
        [*build, "-D", cache_at, ROOT / "docs", folder / "html"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.mark.timeout(600)
def test_no_link_in_the_site_is_broken(site: Path) -> None:
    page = cache(Page)
    broken = []
    pages = sorted(site.glob("**/*.html"))
    assert len(pages) > 40
    for path in pages:
        for target in page(path).targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:  # what lies outside is not ours to keep
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            if not to.exists():
                broken.append(f"{path.relative_to(site)}: {target}")
            elif parts.fragment and to.suffix == ".html" and unquote(parts.fragment) not in page(to).anchors:
                broken.append(f"{path.relative_to(site)}: {target} has no such anchor")
    assert not broken


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("first-chip", "20 chip(s), 1,000 images"),
        ("own-device", "devices took"),
        ("what-limits-it", "The one number to change is periphery.bias_dac_bits"),
    ],
)
def test_notebooks_have_run_and_say_what_they_promise(site: Path, name: str, said: str) -> None:
    text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
    assert said in text
    assert "Traceback" not in text
    assert 'src="../_images/' in text
