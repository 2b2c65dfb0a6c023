"""Tests of the model: against what can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import scale


def costs() -> scale.Costs:
    """Costs of 1 and of 100 tasks a message that make round numbers."""

    def cost(tasks: int, micros: float) -> scale.Cost:
        cpu = dict.fromkeys(scale.PARTS, micros * scale.MICRO)
        return scale.Cost(tasks, cpu, wire_bytes=10 * micros, disk_bytes=micros)

    return scale.Costs("a test", [cost(1, 100.0), cost(100, 1.0)])


def test_costs_lie_between_the_measured_ones() -> None:
    assert costs().at(10).cpu_seconds["server"] == pytest.approx(10e-6)
    assert costs().at(4096).cpu_seconds["server"] == pytest.approx(1e-6)
    assert costs().at(1).wire_bytes == pytest.approx(1000)


def test_a_server_is_used_up_by_its_cores_and_a_stream_by_one() -> None:
    limits = scale.Setup("", 1, 8, 1).limits(costs().at(1))
    assert limits["server"] == pytest.approx(0.8 * 8 / 100e-6)
    assert limits["stream"] == pytest.approx(0.8 / (scale.SERIAL * 100e-6))
    spread = scale.Setup("", 1, 8, 4).limits(costs().at(1))
    assert spread["server"] == limits["server"]
    assert spread["stream"] == pytest.approx(4 * limits["stream"])


def test_copies_cost_all_servers_together_what_was_measured() -> None:
    balanced = scale.Setup("", 3, 8, 3, 3)
    assert 3 * balanced.server_share() == pytest.approx(scale.COPIES)
    assert scale.Setup("", 3, 8, 1, 3).server_share() == pytest.approx(scale.LEADER)
    # Three times the servers and the streams carry three times as much.
    assert 9 * scale.Setup("", 9, 8, 9, 3).server_share() == pytest.approx(scale.COPIES)


def test_every_server_keeps_its_share_of_the_bytes() -> None:
    assert scale.Setup("", 3, 8, 1, 3).copy_share() == 1
    assert scale.Setup("", 3, 8, 3, 3).copy_share() == 1
    assert scale.Setup("", 9, 8, 9, 3).copy_share() == pytest.approx(1 / 3)
    assert scale.Setup("", 3, 8, 3).copy_share() == pytest.approx(1 / 3)


def test_pairs_and_chunks_that_a_rate_needs_fit_together() -> None:
    rate = 100_000
    needed = scale.chunk_needed(costs(), rate)
    assert needed is not None
    assert scale.pairs_needed(costs().at(needed), rate) == 1
    assert scale.pairs_needed(costs().at(needed - 1), rate) > 1


def test_erlang_c_is_the_known_one() -> None:
    # One worker: the share that waits is the share in use. Two workers at 1 erlang: a third.
    assert scale.erlang_c(1, 0.7) == pytest.approx(0.7)
    assert scale.erlang_c(2, 1.0) == pytest.approx(1 / 3)


def run(cpu: float, messages: float) -> dict[str, object]:
    """Make a run of a second with so many messages a task."""
    seconds = dict.fromkeys(scale.PARTS, cpu)
    counts = {"tasks": 1000, "seconds": 1.0, "messages": 1000 * messages}
    return counts | {"cpu_seconds": seconds, "wire_bytes": 5e5, "disk_bytes": 2e5}


def bench(folder: Path, runs: list[dict[str, object]]) -> Path:
    """Write what a benchmark writes."""
    machine = {"cores": 2, "processor": "a", "nats_server": "b", "load_average": "0"}
    scenario = {"scenario": "throughput", "runs": runs}
    path = folder / "bench.json"
    path.write_text(json.dumps({"machine": machine, "pairs": 3, "scenarios": [scenario]}))
    return path


def test_a_benchmark_whose_chunks_are_none_is_refused(tmp_path: Path) -> None:
    case = {"task_bytes": 128, "storage": "file", "workers": 4, "granularity": "256"}
    runs: list[dict[str, object]] = [{"case": case, "farm": [run(0.1, 7.0)]}]
    path = bench(tmp_path, runs)
    with pytest.raises(SystemExit, match=r"granularity 256, but 7.0 messages"):
        scale.from_bench(path, "farm")


def test_a_benchmark_is_read_by_its_medians(tmp_path: Path) -> None:
    case = {"task_bytes": 128, "storage": "file", "workers": 4, "granularity": "off"}
    runs: list[dict[str, object]] = [
        {"case": case, "raw": [], "farm": [run(0.5, 7.0), run(0.1, 7.0), run(0.2, 7.0)]},
        {"case": case | {"granularity": "auto"}, "raw": [], "farm": [run(9.0, 0.1)]},
        {"case": case | {"granularity": "256"}, "raw": [], "farm": [run(0.01, 0.1)]},
    ]
    read = scale.from_bench(bench(tmp_path, runs), "farm")
    assert [point.tasks_per_message for point in read.points] == [1, 256]
    assert read.points[0].cpu_seconds["server"] == pytest.approx(200e-6)
    assert read.points[0].wire_bytes == pytest.approx(500)
    assert read.server_cores_used == pytest.approx(9.0)


def test_processor_time_below_the_kernels_grain_is_not_nothing() -> None:
    cpu, _, _ = scale.medians([run(0.0, 1.0)])
    assert cpu["collector"] == pytest.approx(10e-6)


def test_the_figures_by_hand_make_every_table_but_the_simulated_one() -> None:
    known = scale.by_hand()
    for table in (scale.cost_table, scale.setup_table, scale.need_table, scale.thousand_table):
        assert table(known).count("\n") > 3
    assert "**not `farm bench`**" in known.source
    assert "pairs of streams" in scale.verdict(known)
