from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from served import CLASSES, InThread, PlantedDetector, Served, image_bytes, serving

from brs_detr.serve.app import ServedModel
from brs_detr.serve.detect_page import content_security_policy, render_detect_page
from brs_detr.serve.limits import Limits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with serving(PlantedDetector(), Limits(max_bytes=100_000)) as served:
        yield served


def test_names_are_escaped_and_nothing_is_loaded_from_elsewhere() -> None:
    evil = "</script><script>alert('1')</script>"
    page = render_detect_page(ServedModel(InThread(PlantedDetector(class_names=(evil,))), evil), Limits())
    assert evil not in page and "alert('1')" not in page
    assert page.count("<script") == page.count("</script>") == 2
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url[(]""", page)
    settings = re.search(r'id="settings">(.*?)</script>', page, re.DOTALL)
    assert settings is not None
    assert json.loads(settings[1])["classes"][0]["name"] == json.loads(settings[1])["model"] == evil


def test_the_policy_names_what_is_inside() -> None:
    page = render_detect_page(ServedModel(InThread(PlantedDetector()), "m"), Limits())
    policy = content_security_policy(page)
    assert policy.count("'sha256-") == 2
    assert policy != content_security_policy(page.replace('"use strict"', '"use"'))


@pytest.fixture
def page(chromium: Browser, server: Served) -> Iterator[Page]:
    """Open the page; a console message or a request to another site fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda one: one.url.startswith((server.url, "blob:")) or faults.append(one.url))
    opened.goto(server.url)
    yield opened
    context.close()
    assert faults == []


@pytest.mark.browser
def test_upload_filter_and_keep(page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    boxes, rows = page.locator("#boxes .object"), page.locator("#rows tr")
    for name, size in (("a.png", (60, 40)), ("b.png", (30, 50))):
        (tmp_path / name).write_bytes(image_bytes(*size))
    page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "b.png"])
    expect(boxes).to_have_count(2)
    expect(page.locator("#facts")).to_have_text("60 × 40, 2 objects")
    expect(rows.nth(1)).to_contain_text("<b>dog")
    assert boxes.first.locator(".box").get_attribute("stroke") == "#e69f00"
    drawn, shown = boxes.first.bounding_box(), page.locator("#picture").bounding_box()
    assert drawn and shown
    assert (drawn["x"] - shown["x"]) / shown["width"] == pytest.approx(0.05, abs=0.02)
    assert drawn["width"] / shown["width"] == pytest.approx(0.4, abs=0.03)

    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.locator("#threshold").fill("0.2")
    expect(boxes).to_have_count(3)
    page.locator("#threshold").press("Home")
    expect(boxes).to_have_count(4)
    page.locator("#threshold-number").fill("0.2")
    page.locator("#legend button").first.click()  # the class is hidden by the first click, from any field
    expect(boxes).to_have_count(2)
    expect(page.locator("#legend button").first).to_have_attribute("aria-pressed", "false")
    assert requests == []

    with page.expect_download() as download:
        page.get_by_role("button", name="Download JSON").click()
    record = json.loads(download.value.path().read_text())
    assert download.value.suggested_filename == "predictions.json"
    assert record["class_names"] == list(CLASSES) and record["score_threshold"] == 0.2
    assert [(image["file"], image["width"], image["height"]) for image in record["images"]] == [
        ("a.png", 60, 40),
        ("b.png", 30, 50),
    ]
    assert [found["name"] for found in record["images"][0]["objects"]] == list(CLASSES[1:])

    with page.expect_download() as download:
        page.get_by_role("button", name="Download image").click()
    assert download.value.suggested_filename == "a_detected.png"
    with Image.open(download.value.path()) as kept:
        assert kept.size == (60, 40)
        assert (0, 130, 210) in {colour[:3] for _, colour in kept.getcolors(10_000)}


@pytest.mark.browser
def test_a_threshold_for_each_class_until_the_slider_is_moved(chromium: Browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "a.png").write_bytes(image_bytes())
    with serving(PlantedDetector(score_threshold=(0.95, 0.5, 0.2), calibrated=True)) as served:
        opened = chromium.new_page()
        opened.goto(served.url)
        opened.set_input_files("#files", [tmp_path / "a.png"])
        boxes, number = opened.locator("#boxes .object"), opened.locator("#threshold-number")
        expect(opened.locator("header")).to_contain_text("scores are probabilities")
        expect(boxes).to_have_count(2)
        expect(number).to_have_value("")
        expect(opened.locator("#threshold")).to_have_attribute("aria-valuetext", "by class")
        with opened.expect_download() as download:
            opened.get_by_role("button", name="Download JSON").click()
        record = json.loads(download.value.path().read_text())
        assert record["score_threshold"] == dict(zip(CLASSES, (0.95, 0.5, 0.2), strict=True))
        assert record["calibrated"] is True
        number.fill("0.7")
        expect(boxes).to_have_count(1)
        opened.get_by_role("button", name="Back to one by class").click()
        expect(boxes).to_have_count(2)
        expect(number).to_have_value("")
        opened.close()


@pytest.mark.browser
def test_keyboard_alone(page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(image_bytes())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.set_input_files("#files", [tmp_path / "a.png", tmp_path / "b.png"])
    expect(page.locator("#name")).to_have_text("a.png")
    page.locator("#film button").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#name")).to_have_text("b.png")
    expect(page.locator("#rows tr")).to_have_count(2)
    page.locator("#rows tr").first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#rows tr").nth(1)).to_have_class("is-lit")
    expect(page.locator("#boxes .object.is-lit")).to_have_count(1)
    page.get_by_role("button", name="Clear").press("Enter")
    expect(page.locator("#work")).to_be_hidden()


@pytest.mark.browser
def test_what_cannot_be_sent_is_said_beside_what_can(page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "good.png").write_bytes(image_bytes())
    (tmp_path / "empty.png").touch()
    (tmp_path / "large.png").write_bytes(bytes(100_001))
    page.set_input_files("#files", [tmp_path / name for name in ("empty.png", "good.png", "large.png")])
    problems = page.locator("#problems li")
    expect(problems).to_have_count(2)
    expect(problems.first).to_contain_text("empty.png: The file is empty.")
    expect(problems.nth(1)).to_contain_text("large.png: The file has 0.1 MB; this server takes 0.1 MB.")
    expect(page.locator("#boxes .object")).to_have_count(2)
    page.get_by_role("button", name="Dismiss the message about empty.png").click()
    expect(problems).to_have_count(1)


@pytest.mark.browser
def test_a_refusal_of_the_server_is_shown(chromium: Browser, server: Served, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "<i>cut.png").write_bytes(image_bytes()[:60])
    opened = chromium.new_page()
    opened.goto(server.url)
    opened.set_input_files("#files", tmp_path / "<i>cut.png")
    expect(opened.locator("#problems")).to_contain_text("<i>cut.png: The image cannot be read")
    expect(opened.locator("#work")).to_be_hidden()
    opened.close()


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_by_night(dark: bool, chromium: Browser, server: Served, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    (tmp_path / "a.png").write_bytes(image_bytes(80, 30))
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark" if dark else "light")
    opened = context.new_page()
    opened.goto(server.url)
    opened.set_input_files("#files", tmp_path / "a.png")
    expect(opened.locator("#boxes .object")).to_have_count(2)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 180) == dark
    context.close()
