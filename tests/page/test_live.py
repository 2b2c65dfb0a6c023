"""The page shows what the autoscaler says, as it says it, also when the stream drops."""

import re
import time

from conftest import Play
from farms import day, decision, farm, observed
from playwright.sync_api import Page, expect

LIVE = re.compile("^live")


def test_a_farm_shows_its_last_decision(page: Page, play: Play) -> None:
    event = decision(
        sequence=41,
        observed=observed(backlog_tasks=1234, available_parallelism=6),
        wanted_parallelism=12,
        target_parallelism=10,
        allocation={"replicas": 5, "slots": 2},
        outcome="applied",
        reasons=["12 workers would be right.", "Up by at most 4 steps."],
    )
    page.goto(play(farm(history=[event])).url)
    card = page.locator(".farm")
    expect(card.get_by_role("heading", level=2)).to_have_text(
        "thumbnails predictive · thumbnails-worker in openfaas-fn"
    )
    expect(card.locator("summary .badge")).to_have_text("↕Changed")
    expect(card.locator(".tiles")).to_have_text(
        "QoS 98.1 %target 95 %, deadline 2 s"
        "Backlog 1,234waiting; 6 in flight"
        "Arrivals 12.5/stasks submitted"
        "Service time 480 mslongest 910 ms; with the wait 720 ms"
        "Parallelism 12 → 10wanted → target; 6 available, 6 busy"
        "Replicas × slots 5 × 22 of 2 replicas available"
    )
    expect(card.locator(".body > .aside")).to_contain_text(
        "every 2 s, 1 to 32 workers, at most 5 replicas, at most 8 slots each. Decision 41"
    )
    row = card.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("12 → 10")
    expect(row).to_contain_text("12 workers would be right.Up by at most 4 steps.")
    expect(page.locator("#leader")).to_have_text("autoscaler-0 leads.")
    expect(page.locator("#count")).to_have_text("1 farm, none needs attention.")


def test_charts_draw_and_say_what_they_show(page: Page, play: Play) -> None:
    page.goto(play(farm(history=day())).url)
    charts = page.get_by_role("img")
    expect(charts).to_have_count(3)
    expect(charts.first).to_have_attribute(
        "aria-label", re.compile(r"^Queue over 10\smin\. Backlog: \d+ tasks, between \d+ and \d+")
    )
    # Many colours: something is drawn, and not just a frame.
    colours = charts.first.evaluate(
        """(canvas) => {
            const { width, height } = canvas;
            const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
            return new Set(new Uint32Array(pixels.buffer)).size;
        }"""
    )
    assert colours > 20


def test_decisions_are_added_as_they_come(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision(sequence=1)]))
    page.goto(stage.url)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(1)
    stage.decide(decision(sequence=2, outcome="failed", error="gateway: 500 Internal Server Error"))
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Error: gateway: 500 Internal Server Error")
    expect(page.locator("summary .notice:visible")).to_contain_text("Failed since")
    expect(page.locator("#count")).to_have_text("1 farm, 1 needs attention.")
    expect(page.locator("#announcements")).to_contain_text("thumbnails: Failed since")
    page.get_by_label("Only changes and trouble").check()
    expect(page.locator("tbody tr:visible")).to_have_count(1)


def test_only_the_last_300_decisions_are_kept(page: Page, play: Play) -> None:
    stage = play(farm(history=day()))
    page.goto(stage.url)
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(300)
    for sequence in range(301, 306):
        stage.decide(decision(sequence=sequence, wanted_parallelism=sequence))
    expect(rows.first).to_contain_text("305 →")
    expect(rows).to_have_count(300)


def test_a_decision_that_comes_twice_or_late_has_one_row_in_its_place(
    page: Page, play: Play
) -> None:
    now = time.time()
    first, second, third = (
        decision(sequence=n, at_seconds=now + n, wanted_parallelism=100 + n) for n in (1, 2, 3)
    )
    stage = play(farm(history=[first]))
    page.goto(stage.url)
    for event in (third, second, third):
        stage.decide(event)
    rows = page.locator("tbody tr")
    expect(rows.filter(has_text="102 →")).to_have_count(1)
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("103 →")


def test_farms_come_and_go(page: Page, play: Play) -> None:
    stage = play(farm("b", history=[decision("b")]))
    page.goto(stage.url)
    names = page.locator(".farm .name")
    expect(names).to_have_text(["b"])
    stage.farms.insert(0, farm("a"))
    stage.tell_farms()
    expect(names).to_have_text(["a", "b"])
    expect(page.locator(".farm[open] tbody tr")).to_have_count(1)
    stage.farms.pop()
    stage.leader = "autoscaler-1"
    stage.tell_farms()
    expect(names).to_have_text(["a"])
    expect(page.locator("#leader")).to_have_text("autoscaler-0 stands by, autoscaler-1 leads.")


def test_no_farm_at_all_is_said(page: Page, play: Play) -> None:
    page.goto(play().url)
    expect(page.locator("#count")).to_contain_text("No farms.")


def test_what_nobody_measured_is_a_dash(page: Page, play: Play) -> None:
    blind = decision(observed=None, wanted_parallelism=None, allocation=None, outcome="held")
    page.goto(play(farm(history=[blind], settings=None), farm("new")).url)
    expect(page.locator(".farm .badge").first).to_have_text("…No decision yet")
    expect(page.locator("tbody tr")).to_contain_text("nothing: the farm could not be observed")
    expect(page.locator("main")).not_to_contain_text(re.compile("NaN|undefined|null"))


def test_a_bad_annotation_is_shown_on_its_farm(page: Page, play: Play) -> None:
    problem = "farm.interval: '2' has no unit; write 2s"
    unset = dict.fromkeys(farm()["settings"])
    bad = farm("bad", problem=problem, settings=unset)
    good = farm("good", history=[decision("good")], warnings=["farm.maximum means nothing"])
    page.goto(play(bad, good).url)
    expect(page.locator(".farm .notice:visible")).to_have_text(
        [f"Misconfigured: {problem}", "Warning: farm.maximum means nothing"]
    )
    expect(page.locator(".farm .aside", has_text="Policy").first).to_have_text(
        "Policy predictive. No decision has been made about this farm yet."
    )
    expect(page.get_by_role("img")).to_have_count(3)
    expect(page).to_have_title("(1) Farm autoscaler")


def test_a_farm_nobody_decides_about_is_called_silent(page: Page, play: Play) -> None:
    page.goto(play(farm(history=[decision(at_seconds=time.time() - 60)])).url)
    expect(page.locator("summary .badge")).to_have_text("?Silent")


def test_a_stream_that_is_cut_is_opened_again(page: Page, play: Play) -> None:
    stage = play(farm(history=[decision(sequence=1)]))
    page.goto(stage.url)
    expect(page.locator("#connection-text")).to_have_text(LIVE)
    for sequence in range(2, 5):
        stage.drop()
        stage.decide(decision(sequence=sequence))
        expect(page.locator("tbody tr")).to_have_count(sequence)
    expect(page.locator("#connection-text")).to_have_text(LIVE)


def test_data_stay_while_the_autoscaler_is_gone(
    page: Page, play: Play, complaints: list[str]
) -> None:
    stage = play(farm(history=[decision(sequence=1)]))
    page.goto(stage.url)
    expect(page.locator("tbody tr")).to_have_count(1)
    # As a gateway answers for a function that restarts: the browser itself then gives up.
    stage.refuse_events = stage.refuse_farms = 502
    stage.drop()
    expect(page.locator("#connection-text")).to_have_text(
        re.compile(r"^reconnecting… last update \d+\ss ago$")
    )
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("#announcements")).to_contain_text("Connection to the autoscaler lost")
    # It comes back, and remembers nothing of what was before.
    stage.farms[0]["history"] = [decision(sequence=1, decided_by="autoscaler-1")]
    stage.refuse_events = stage.refuse_farms = None
    expect(page.locator("#connection-text")).to_have_text(LIVE)
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.locator("#announcements")).to_contain_text("Connected again.")
    assert all("502" in complaint for complaint in complaints)
    complaints.clear()


def test_without_a_stream_it_asks_every_few_seconds(
    page: Page, play: Play, complaints: list[str]
) -> None:
    stage = play(farm(history=[decision(sequence=1)]))
    stage.refuse_events = 504
    page.goto(stage.url)
    expect(page.locator("#connection-text")).to_contain_text("asking every few seconds")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert all("504" in complaint for complaint in complaints)
    complaints.clear()
