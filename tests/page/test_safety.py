"""What comes from outside stays text, and the page keeps to its content security policy."""

import base64
import hashlib
import re
from pathlib import Path

from conftest import TOOLS, Play
from farms import decision, farm
from playwright.sync_api import Page, expect
from stage import GATEWAY_PATH, PAGE, POLICY

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def test_hostile_text_is_inert(page: Page, play: Play) -> None:
    event = decision(
        HOSTILE,
        decided_by=HOSTILE,
        policy=HOSTILE,
        outcome="failed",
        reasons=["</td></table><b>bold</b>", "__proto__"],
        error=HOSTILE,
    )
    hostile = farm(HOSTILE, policy=HOSTILE, namespace=HOSTILE, history=[event])
    stage = play(hostile, farm("__proto__", problem=HOSTILE, warnings=[HOSTILE]))
    stage.leader = HOSTILE
    page.goto(stage.url)
    expect(page.locator(".farm")).to_have_count(2)
    expect(page.locator("tbody tr .error")).to_have_text(f"Error: {HOSTILE}")
    expect(page.locator("#leader")).to_contain_text(HOSTILE)
    expect(page.locator("main img, main script, main b")).to_have_count(0)
    expect(page).to_have_title("(2) Farm autoscaler")


def test_garbage_in_the_stream_is_left_out(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision()]))
    page.goto(stage.url)
    expect(page.locator("tbody tr")).to_have_count(1)
    for garbage in (
        {"farm": "thumbnails"},
        {"farm": None},
        {"farm": "unheard-of", "function": "x"},
    ):
        stage.decide(garbage)
    stage.decide(decision(sequence=2))
    expect(page.locator("tbody tr")).to_have_count(2)


def test_the_page_works_below_a_gateways_path(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision()]))
    page.goto(f"{stage.url}{GATEWAY_PATH}/")
    expect(page.locator(".farm")).to_have_count(1)


def test_an_address_without_its_last_slash_is_completed(
    page: Page, play: Play, complaints: list[str]
) -> None:
    stage = play(farm(history=[decision()]))
    page.goto(f"{stage.url}{GATEWAY_PATH}")
    expect(page.locator(".farm")).to_have_count(1)
    expect(page).to_have_url(f"{stage.url}{GATEWAY_PATH}/")
    # The browser may have looked for files beside the wrong address before it left.
    complaints.clear()


def test_without_its_script_the_page_says_what_to_do(page: Page, play: Play) -> None:
    page.route("**/app.js", lambda route: route.fulfill(content_type="text/javascript", body=""))
    page.goto(play().url)
    expect(page.locator("#not-loaded")).to_contain_text("with a slash at the end of its address")


def test_the_policy_allows_the_one_inline_script() -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", (PAGE / "index.html").read_text(), re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY
    assert "unsafe" not in POLICY


def test_nothing_is_loaded_from_elsewhere(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision()]))
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    page.goto(stage.url)
    expect(page.get_by_role("img")).to_have_count(3)
    assert addresses
    assert all(address.startswith(stage.url) for address in addresses)


def test_the_chart_library_is_as_published() -> None:
    published = TOOLS / "uplot"
    copies: dict[str, Path] = {
        "uPlot.iife.min.js": published / "dist" / "uPlot.iife.min.js",
        "uPlot.min.css": published / "dist" / "uPlot.min.css",
        "uPlot.LICENSE.txt": published / "LICENSE",
    }
    for name, original in copies.items():
        assert (PAGE / name).read_bytes() == original.read_bytes(), name
