"""The page as the autoscaler itself serves it: at FARM_PAGE_URL."""

import os

import pytest
from playwright.sync_api import Page, expect

URL = os.environ.get("FARM_PAGE_URL")


@pytest.mark.skipif(not URL, reason="FARM_PAGE_URL does not say where an autoscaler runs")
def test_the_real_autoscaler_serves_a_page_that_works(page: Page) -> None:
    assert URL is not None
    answer = page.goto(URL)
    assert answer is not None
    assert answer.ok
    expect(page.locator("#connection-text")).to_contain_text("live")
    expect(page.locator("#leader")).not_to_be_empty()
    expect(page.locator("#count")).not_to_be_empty()
