"""The report's page as a person uses it, in a headless Chromium: maps, keyboard, sorting, light and dark, printing."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import hrat
from browser import needs_browser, start

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from start(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def chips() -> hrat.ProgrammedChip:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 3)).eval()
    spec = hrat.load_spec("generic-4bit", {"array.rows": 16, "array.cols": 16})
    return hrat.program(hrat.deploy(hrat.prepare(network, spec, torch.randn(8, 40))), chips=3, scheme="write_verify")


@pytest.fixture(scope="module")
def address(chips: hrat.ProgrammedChip, tmp_path_factory: pytest.TempPathFactory) -> str:
    x, y = torch.randn(30, 40), torch.randint(3, (30,))
    page, *_ = hrat.report(chips, tmp_path_factory.mktemp("page"), [(x, y)], spice=False, verify_images=4)
    return page.as_uri()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    return opened(browser, address)


def opened(browser: Any, address: str) -> Any:
    """The browser as it starts, with a page whose first tile is drawn."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(address)
    until(lambda: "word line" in text(browser, "map-cell"))
    return browser


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def text(browser: Any, identity: str) -> str:
    return str(browser.find_element("id", identity).text)


def choose(browser: Any, identity: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", identity)).select_by_value(value)


def said_uS(browser: Any, what: str) -> float:
    return float(text(browser, "map-cell").partition(f"{what} ")[2].partition(" ")[0])


def test_nothing_is_asked_of_the_network_and_the_console_is_silent(page: Any, address: str) -> None:
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        # The browser's own start page asks as well.
        if message["method"] == "Network.requestWillBeSent" and message["params"]["documentURL"].startswith("file:"):
            asked = message["params"]["request"]["url"]
            assert asked.startswith(("data:", "blob:")) or asked.partition("#")[0] == address, asked
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_the_map_tells_what_the_chip_holds(page: Any, chips: hrat.ProgrammedChip) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(page, "map-layer", "0")
    tile = page.find_element("id", "map-tile")
    tile.send_keys(Keys.CONTROL, "a", Keys.NULL, "4", Keys.TAB)
    until(lambda: "tile1_1" in text(page, "map-count"))
    until(lambda: "word line 16, bit line 16" in text(page, "map-cell"))
    canvas = page.find_element("id", "map")
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    name = next(iter(chips.layers))
    target, achieved = chips.deployment.layers[name], chips.layers[name]
    for part, of_target, of_chip in (
        ("pos", target.g_pos_S, achieved.g_pos_S[0]),
        ("neg", target.g_neg_S, achieved.g_neg_S[0]),
        ("pair", target.g_pos_S - target.g_neg_S, achieved.g_pos_S[0] - achieved.g_neg_S[0]),
    ):
        choose(page, "map-part", part)
        assert "word line 18, bit line 17" in text(page, "map-cell")
        assert said_uS(page, "target") == pytest.approx(float(of_target[0, 18, 17]) * 1e6, abs=0.006)
        assert said_uS(page, "achieved") == pytest.approx(float(of_chip[0, 18, 17]) * 1e6, abs=0.5)


def pixels(browser: Any) -> str:
    return str(browser.execute_script("return document.getElementById('map').toDataURL()"))


def test_the_map_is_drawn_and_zooms(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    canvas = page.find_element("id", "map")
    views = {what: (choose(page, "map-what", what), pixels(page))[1] for what in ("achieved", "target", "error")}
    assert len(set(views.values())) == 3
    whole = pixels(page)
    page.find_element("id", "map-in").click()
    near = pixels(page)
    assert near != whole
    canvas.send_keys(Keys.HOME)
    assert pixels(page) == whole
    canvas.send_keys("+")
    assert pixels(page) == near
    page.find_element("id", "map-fit").click()
    assert pixels(page) == whole


def test_all_controls_are_reached_by_keyboard(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    seen = []
    for _ in range(120):
        page.switch_to.active_element.send_keys(Keys.TAB)
        focus = page.switch_to.active_element
        seen.append(focus.get_attribute("id") or focus.text)
        if focus.tag_name == "body":
            break
    assert {"theme", "map-layer", "map-tile", "map-what", "map-part", "map-in", "map-out", "map-fit", "map"} <= set(
        seen
    )
    assert seen[0] == "Skip to the content"


def test_tables_are_sorted_by_their_headings(page: Any) -> None:
    table = next(t for t in page.find_elements("css selector", "#costs table.sortable"))
    heading = next(b for b in table.find_elements("css selector", "thead button") if b.text == "energy")

    def energies() -> list[float]:
        size = {"p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3}
        cells = [
            row.find_elements("css selector", "td")[8].text for row in table.find_elements("css selector", "tbody tr")
        ]
        return [float(cell.split()[0]) * size[cell.split()[1][0]] for cell in cells]

    heading.click()
    down = energies()
    assert down == sorted(down, reverse=True)
    heading.click()
    assert energies() == down[::-1]


def background(browser: Any) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


def test_light_and_dark_follow_the_system_until_a_person_chooses(page: Any) -> None:
    page.execute_script("localStorage.clear()")
    page.refresh()
    light = background(page)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    dark = background(page)
    assert light != dark
    page.find_element("id", "theme").click()
    assert background(page) == light
    page.refresh()
    assert background(page) == light
    page.execute_script("localStorage.clear()")


@pytest.mark.parametrize("width", [320, 390, 768, 1600])
def test_no_width_makes_the_page_scroll_sideways(page: Any, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_it_prints_without_its_controls(page: Any) -> None:
    printed = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    assert printed.startswith(b"%PDF")
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script("return document.querySelectorAll('details[open]').length") == 0
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = page.execute_script(
        "return ['nav', '#theme', '#map-controls'].map(s => getComputedStyle(document.querySelector(s)).display)"
    )
    assert shown == ["none"] * 3


def test_a_large_chip_does_not_freeze_the_page(browser: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = hrat.prepare(nn.Linear(1152, 1280), "generic-4bit", torch.randn(2, 1152)).eval()
    chip = hrat.program(hrat.deploy(model), seed=0)
    opened(browser, hrat.report(chip, tmp_path)[0].as_uri())
    held = browser.execute_script("return performance.memory.usedJSHeapSize")
    assert held < 40e6  # of 90 tiles, 3 million devices, one is unpacked
    assert "of 90" in text(browser, "map-count")
