"""A hundred farms with all that is kept of them leave the page quick."""

import time

from conftest import PICTURES, Play
from farms import day, decision, farm
from playwright.sync_api import Page, expect

FARMS = 100


def test_a_hundred_farms_stay_responsive(page: Page, play: Play) -> None:
    names = [f"farm-{number:02}" for number in range(FARMS)]
    stage = play(*[farm(name, history=day(name)) for name in names])
    page.goto(stage.url)
    expect(page.locator(".farm")).to_have_count(FARMS)
    # Only what is looked at costs: nothing is open, so nothing is drawn.
    expect(page.locator("canvas, table")).to_have_count(0)
    page.evaluate("""() => {
        window.longest = 0;
        new PerformanceObserver((list) => {
            for (const task of list.getEntries()) longest = Math.max(longest, task.duration);
        }).observe({ type: "longtask" });
    }""")
    page.locator(".farm").nth(42).locator("summary").click()
    expect(page.locator("canvas")).to_have_count(3)
    for sequence in (1001, 1002, 1003):
        for name in names:
            stage.decide(decision(name, sequence, at_seconds=time.time()))
    expect(page.locator("tbody tr").first).to_contain_text("8 → 8")
    expect(page.locator("#connection-text")).to_contain_text("live")
    # Long enough for a person to notice would be 100 ms; this machine may be busy.
    assert page.evaluate("longest") < 1000
    page.screenshot(path=PICTURES / "hundred-farms.png")
    page.locator(".farm[open] summary").click()
    expect(page.locator("canvas, table")).to_have_count(0)
    page.get_by_label("Find").fill("farm-99")
    expect(page.locator(".farm:visible")).to_have_count(1)
