"""The page is for everybody: keyboard, screen reader, small screen, light and dark."""

import pytest
from conftest import TOOLS, Play
from farms import Json, day, decision, farm
from playwright.sync_api import Locator, Page, expect

PHONE = {"width": 360, "height": 740}


def some_farms() -> list[Json]:
    return [
        farm(history=day()),
        farm("failing", history=[decision("failing", outcome="failed", error="gateway: 500")]),
        farm("broken", problem="farm.max: 'many' is not a whole number"),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_serious(page: Page, play: Play, scheme: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(play(*some_farms()).url)
    expect(page.get_by_role("img")).to_have_count(6)
    # Evaluated, and not added as an element, which the page's policy forbids.
    page.evaluate((TOOLS / "axe.js").read_text())
    violations = page.evaluate("async () => (await axe.run()).violations")
    found = [
        (violation["id"], violation["impact"], [node["html"][:200] for node in violation["nodes"]])
        for violation in violations
    ]
    assert found == []


def test_everything_is_reached_by_keyboard(page: Page, play: Play) -> None:
    farms = [farm(f"farm-{n}", history=[decision(f"farm-{n}")]) for n in range(9)]
    page.goto(play(*farms).url)
    expect(page.locator(".farm")).to_have_count(9)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Find")).to_be_focused()
    page.keyboard.type("farm-7")
    expect(page.locator(".farm:visible")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Only what needs attention")).to_be_focused()
    page.keyboard.press("Tab")
    summary = page.locator(".farm:visible summary")
    expect(summary).to_be_focused()
    assert outline(summary) == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".farm:visible tbody tr")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Only changes and trouble")).to_be_focused()
    page.keyboard.press("Tab")
    region = page.get_by_role("region", name="Decisions about farm-7")
    expect(region).to_be_focused()
    assert outline(region) == "solid"


def outline(locator: Locator) -> str:
    style: str = locator.evaluate("(node) => getComputedStyle(node).outlineStyle")
    return style


def test_landmarks_and_table_are_named(page: Page, play: Play) -> None:
    page.goto(play(*some_farms()).url)
    for landmark in ("banner", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    table = page.get_by_role("table", name="Decisions about failing")
    expect(table.get_by_role("columnheader")).to_have_count(6)
    expect(table.get_by_role("cell")).to_have_count(6)


def test_only_changes_of_state_are_announced(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision(sequence=1)]))
    page.goto(stage.url)
    news = page.get_by_role("status")
    for sequence in (2, 3):
        stage.decide(decision(sequence=sequence, outcome="applied"))
        expect(page.locator("tbody tr")).to_have_count(sequence)
    expect(news).to_have_text("")
    stage.decide(decision(sequence=4, outcome="held", reasons=["NATS is gone."]))
    expect(news).to_contain_text("thumbnails: Held since")
    stage.decide(decision(sequence=5))
    expect(news).to_have_text("thumbnails: Steady.")


@pytest.mark.parametrize("name", ["thumbnails", "a" * 63])
@pytest.mark.parametrize("width", [360, 800, 1060])
def test_the_page_never_scrolls_sideways(page: Page, play: Play, name: str, width: int) -> None:
    events = day(name)
    events[-1] |= {"outcome": "failed", "error": "x" * 200}
    page.goto(play(farm(name, history=events)).url)
    expect(page.get_by_role("img")).to_have_count(3)
    # Narrowed while open, for what has taken its width from a wider page.
    page.set_viewport_size({"width": width, "height": 740})
    page.wait_for_function(
        """() => [...document.querySelectorAll("body *")]
            .every((node) => node.getBoundingClientRect().right <= innerWidth + 0.5)"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    region = page.get_by_role("region")
    assert region.evaluate("(node) => node.scrollWidth - node.clientWidth") == 0


def test_charts_follow_the_width(page: Page, play: Play) -> None:
    page.goto(play(farm(history=day())).url)
    chart = page.get_by_role("img").first
    expect(chart).to_be_visible()
    before = chart.evaluate("(canvas) => canvas.clientWidth")
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    page.wait_for_function(
        "(before) => document.querySelector('canvas').clientWidth < before", arg=before
    )


def test_dark_and_light_are_followed_while_open(page: Page, play: Play) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(play(farm(history=day())).url)
    chart = page.get_by_role("img").first
    expect(chart).to_be_visible()
    light_ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light_chart = chart.evaluate("(canvas) => canvas.toDataURL()")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "(light) => document.querySelector('canvas').toDataURL() !== light", arg=light_chart
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light_ground
