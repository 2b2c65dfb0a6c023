"""A real headless browser for the tests of the page."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from farms import Json
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from stage import Stage

Play = Callable[..., Stage]

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools" / "browser"
CHROMIUM = TOOLS / "chromium"
PICTURES = ROOT / "out" / "page"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Generous, for a machine that builds something at the same time.
TIMEOUT_MILLISECONDS = 20_000


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start one browser for all tests."""
    if not CHROMIUM.exists():
        message = "NO BROWSER: the live page is not tested. Install chromium, then: make browser"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """Collect what the browser's console says. A test that provokes some clears the list."""
    return []


@pytest.fixture
def play() -> Iterator[Play]:
    """Serve the page with these farms; the stage outlives the page, or the page would complain."""
    with ExitStack() as stages:

        def start(*farms: Json) -> Stage:
            stage = Stage(*farms)
            stages.callback(stage.close)
            return stage

        yield start


@pytest.fixture
def page(browser: Browser, complaints: list[str], play: Play) -> Iterator[Page]:  # noqa: ARG001
    """Open an empty page of a browser that knows nothing. Its console must stay clean."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MILLISECONDS)
    page = context.new_page()

    def complain(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type}: {message.text}")

    page.on("console", complain)
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    yield page
    context.close()
    assert complaints == []
