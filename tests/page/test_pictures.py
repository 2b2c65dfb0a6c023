"""Pictures of the page, for people to look at: out/page/*.png."""

from conftest import PICTURES, Play
from farms import day, decision, farm, observed
from playwright.sync_api import Page, expect


def test_pictures(page: Page, play: Play) -> None:
    held = day("mandelbrot")
    for event in held[-4:]:
        event |= {"outcome": "held", "observed": None, "wanted_parallelism": None}
        event["reasons"] = ["Telemetry of 3 of 5 replicas is missing."]
    quiet = decision("sleeper", 7, observed=observed(backlog_tasks=0, qos_ratio=None))
    problem = "farm.max: '3 workers' is not a whole number; write farm.max: \"3\""
    farms = [
        farm(history=day()),
        farm("mandelbrot", policy="queue", history=held),
        farm("sleeper", history=[quiet], policy="reactive-average"),
        farm("broken", problem=problem, policy="static"),
    ]
    stage = play(*farms)
    page.goto(stage.url)
    expect(page.locator(".farm")).to_have_count(4)
    page.screenshot(path=PICTURES / "overview-light.png")
    page.locator(".farm", has_text="thumbnails").locator("summary").click()
    expect(page.locator(".farm[open] canvas")).to_have_count(3)
    page.screenshot(path=PICTURES / "desktop-light.png", full_page=True)
    page.emulate_media(color_scheme="dark")
    page.screenshot(path=PICTURES / "desktop-dark.png", full_page=True)
    page.set_viewport_size({"width": 360, "height": 740})
    page.screenshot(path=PICTURES / "phone-dark.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.screenshot(path=PICTURES / "phone-light.png", full_page=True)
    page.set_viewport_size({"width": 800, "height": 1000})
    page.screenshot(path=PICTURES / "tablet-light.png", full_page=True)
