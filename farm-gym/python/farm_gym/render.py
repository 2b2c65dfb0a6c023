"""Episodes for people: text and pictures."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Trace = dict[str, NDArray[np.float64]]

ROWS = 32
"""Steps that the text shows; of a longer episode, the last ones."""
BAR = 24
TARGET_RATIO = 0.95


def modes() -> list[str]:
    """Return what can be rendered here: pictures need matplotlib."""
    drawable = importlib.util.find_spec("matplotlib") is not None
    return ["ansi", "rgb_array"] if drawable else ["ansi"]


def check_mode(mode: str | None) -> str | None:
    """Return the mode if it can be rendered."""
    if mode == "rgb_array" and mode not in modes():
        raise DependencyNotInstalled(
            "render_mode='rgb_array' draws with matplotlib: pip install 'farm-gym[plot]'"
        )
    if mode is not None and mode not in modes():
        raise ValueError(f"render_mode {mode!r}: use one of {modes()}")
    return mode


def draw(mode: str, trace: Trace) -> str | NDArray[np.uint8]:
    """Show an episode."""
    return text(trace) if mode == "ansi" else picture(trace)


def text(trace: Trace) -> str:
    """Return an episode as a table with bars, one line a step."""
    times, workers = trace["time_seconds"], trace["parallelism"]
    queue, rates, ratios = (
        trace["backlog_tasks"],
        trace["arrival_rate_per_second"],
        trace["qos_ratio"],
    )
    lines = [f"{'time':>8} {'workers':>8}  {'':{BAR}} {'queue':>6} {'rate':>7} {'in time':>8}"]
    most = max(workers, default=1.0)
    for step in range(max(0, len(times) - ROWS), len(times)):
        bar = "█" * max(1, round(BAR * workers[step] / most)) if workers[step] else ""
        ratio = ratios[step]
        met = "-" if math.isnan(ratio) else f"{100 * ratio:.1f} %"
        lines.append(
            f"{times[step]:6.0f} s {workers[step]:8.0f}  {bar:{BAR}} {queue[step]:6.0f} "
            f"{rates[step]:5.1f}/s {met:>8}"
        )
    if len(times) == 0:
        lines.append("nothing was decided yet")
    return "\n".join(lines) + "\n"


def picture(trace: Trace) -> NDArray[np.uint8]:
    """Return an episode as a plot: workers, queue, arrival rate and quality over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(8, 7), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    charts = figure.subplots(4, 1, sharex=True)
    times = trace["time_seconds"]
    panels: list[tuple[str, str, str, Callable[[Axes, NDArray[np.float64]], Any]]] = [
        ("workers", "parallelism", "#0072B2", _steps(times)),
        ("queue\n(tasks)", "backlog_tasks", "#D55E00", _area(times)),
        ("arrivals\n(tasks/s)", "arrival_rate_per_second", "#555555", _steps(times)),
        ("in time\n(%)", "qos_ratio", "#009E73", _points(times)),
    ]
    for chart, (label, column, colour, paint) in zip(charts, panels, strict=True):
        chart.set_prop_cycle(color=[colour])
        paint(chart, trace[column])
        chart.set_ylabel(label)
        chart.grid(alpha=0.3)
        chart.spines[["top", "right"]].set_visible(False)
    for chart in charts[:3]:
        chart.set_ylim(bottom=0)
    charts[3].axhline(100 * TARGET_RATIO, color="#555555", linestyle="--", linewidth=1)
    charts[3].set_ylim(-4, 104)
    charts[3].set_xlabel("time (s)")
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()


def _steps(times: NDArray[np.float64]) -> Callable[[Axes, NDArray[np.float64]], Any]:
    """Paint values that held since the step before."""
    edges = np.concatenate(([0.0], times))
    return lambda chart, values: chart.stairs(values, edges, linewidth=1.8, baseline=None)


def _area(times: NDArray[np.float64]) -> Callable[[Axes, NDArray[np.float64]], Any]:
    return lambda chart, values: (
        chart.fill_between(times, values, alpha=0.25),
        chart.plot(times, values, linewidth=1.8),
    )


def _points(times: NDArray[np.float64]) -> Callable[[Axes, NDArray[np.float64]], Any]:
    return lambda chart, values: chart.plot(times, 100 * values, marker="o", markersize=4)
