"""Tests of the demonstration script; the farms themselves are tested in Rust."""

from __future__ import annotations

import base64
import json
import random
import stat
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import demo
import pytest

ACCOUNT: dict[str, Any] = {
    "job": "j",
    "ended": True,
    "accepted": 12,
    "done": 12,
    "failed": 0,
    "cancelled": 0,
    "unfinished": 0,
    "lost": 0,
    "duplicates": 0,
    "elapsed_seconds": 2.0,
    "throughput_per_second": 6.0,
    "sojourn_seconds": {"p50": 0.5, "p95": 0.9, "p99": 1.25, "max": 1.5},
    "qos_ratio": 0.975,
}

FARM = """#!{python}
import json, os, signal, sys, time
arguments = sys.argv[1:]
if arguments[0] == "up":
    print("farm up starts", flush=True)
    {on_up}
    while True:
        time.sleep(0.01)
name, out = arguments[1], arguments[arguments.index("--out") + 1]
result = {{"name": "a/../b.jpg", "bytes_base64": "SU1H"}}
written = {{
    "mandelbrot": {{"png_base64": "UE5H"}},
    "imaging": {{"output": {{"outputs": [{{"operation": "metadata"}}, {{"image": result}}]}}}},
}}
open(out, "w").write(json.dumps(written[name]))
print({account!r})
"""

COMES_UP = """
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    up = {{"gateway_url": "http://127.0.0.1:1", "pid": os.getpid()}}
    open({record!r} + ".new", "w").write(json.dumps(up))
    os.rename({record!r} + ".new", {record!r})
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the script believe that an empty folder is the repository."""
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "OUT", tmp_path / "out")
    monkeypatch.setattr(demo, "UP_RECORD", tmp_path / "up.json")
    monkeypatch.setattr(demo, "PHOTOS", 2)
    return tmp_path


def stand_in(root: Path, on_up: str = COMES_UP, account: dict[str, Any] = ACCOUNT) -> str:
    """Write a program that answers as `farm` does."""
    file = root / "farm"
    record = str(root / "up.json")
    file.write_text(
        FARM.format(
            python=sys.executable,
            on_up=on_up.format(record=record),
            account=json.dumps(account),
        )
    )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return str(file)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
    return demo.main()


def test_pictures_and_a_table_come_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--farm", stand_in(root)) == 0
    assert (root / "out/mandelbrot.png").read_bytes() == b"PNG"
    assert (root / "out/thumbnails/a/b.jpg").read_bytes() == b"IMG"
    assert len(list((root / "out/photos").iterdir())) == 2
    printed = capsys.readouterr().out
    assert "farm up starts" in printed
    row = next(line for line in printed.splitlines() if line.startswith("mandelbrot "))
    assert " ".join(row.split()) == "mandelbrot 12 12 0 0 6.0 0.50 s 1.25 s 97.5 % -"
    assert "no autoscaler answers" in printed


@pytest.mark.parametrize("kind", ["failed", "cancelled", "unfinished", "lost", "duplicates"])
def test_anything_but_one_result_a_task_is_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    assert run(monkeypatch, "--farm", stand_in(root, account=ACCOUNT | {kind: 3})) == 1
    assert capsys.readouterr().err == f"demo: mandelbrot: 3 {kind} of 12 tasks\n"


def test_farms_that_do_not_come_up_are_an_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--farm", stand_in(root, "sys.exit(7)")) == 1
    assert "farm up ended with status 7: see" in capsys.readouterr().err


def test_farms_are_stopped_after_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = root / "stopped"
    on_up = COMES_UP.replace("sys.exit(0)", f"(open({str(stopped)!r}, 'w'), sys.exit(0))")
    farm = stand_in(root, on_up)
    monkeypatch.setattr(demo, "submit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, "--farm", farm)
    assert stopped.exists()


def test_farms_that_do_not_stop_are_killed_and_reported(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "STOP_SECONDS", 0.2)
    farm = stand_in(root, COMES_UP.replace("sys.exit(0)", "None"))
    assert run(monkeypatch, "--farm", farm) == 1
    assert "farm up did not stop in 0.2 s" in capsys.readouterr().err


class Platform:
    """Stands in for the gateway: the sizes of its pools, and whether there is an autoscaler."""

    scaling_url = "http://gateway/function/farm-autoscaler/"

    def __init__(self, sizes: list[int], *, has_autoscaler: bool = True) -> None:
        """Give these sizes, one after the other."""
        self.sizes = iter(sizes)
        self.has_autoscaler = has_autoscaler

    def get(self, path: str) -> bytes | None:
        """Answer as the autoscaler does."""
        assert path == "/function/farm-autoscaler/farms"
        return b"[]" if self.has_autoscaler else None

    def status(self, function: str) -> dict[str, Any] | None:
        """Answer as the gateway does."""
        assert function == "imaging"
        size = next(self.sizes, None)
        # As a gateway written in Go answers: what is 0 is left out.
        replicas = {"availableReplicas": size} if size else {}
        return {"annotations": {"farm.min": "2"}} | replicas if size is not None else None


def looked(sizes: list[int]) -> demo.Pool:
    pool = demo.Pool("imaging", "imaging")
    platform: Any = Platform(sizes)
    for _ in range(len(sizes) + 1):
        pool.look(platform)
    return pool


def test_a_pool_tells_how_it_grows_and_shrinks(capsys: pytest.CaptureFixture[str]) -> None:
    pool = looked([2, 2, 5, 5, 0, 3])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"imaging: workers {change}" for change in ("2 → 5", "5 → 0", "0 → 3")]
    assert (pool.cell(), pool.has_shrunk()) == ("0/5", False)
    assert looked([3, 2]).has_shrunk()


def test_a_pool_nobody_saw_holds_nothing_up() -> None:
    pool = looked([])
    assert (pool.cell(), pool.has_shrunk()) == ("-", True)


def test_waiting_for_fewer_workers_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SHRINK_SECONDS", 0)
    demo.await_shrinking([looked([2]), looked([4])])
    assert capsys.readouterr().out == "imaging: still 4 workers after 0 s\n"


def test_the_autoscaler_is_introduced(capsys: pytest.CaptureFixture[str]) -> None:
    here: Any = Platform([])
    assert demo.introduce_autoscaler(here)
    assert here.scaling_url in capsys.readouterr().out
    away: Any = Platform([], has_autoscaler=False)
    assert not demo.introduce_autoscaler(away)


def test_a_photo_is_a_png_of_its_size() -> None:
    chance = random.Random(1)
    file = demo.png(31, 17, demo.waves(31, 17, chance))
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", file[16:24]) == (31, 17)
    start = file.index(b"IDAT")
    (length,) = struct.unpack(">I", file[start - 4 : start])
    pixels = zlib.decompress(file[start + 4 : start + 4 + length])
    assert len(pixels) == 17 * (1 + 3 * 31)


def test_photos_are_the_same_at_every_run(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        demo.make_photos(tmp_path / folder, 2)
    for photo in (tmp_path / "one").iterdir():
        assert photo.read_bytes() == (tmp_path / "two" / photo.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("b/a.jpg", "b/a.jpg"),
        ("../../a", "a"),
        ("/etc/a", "etc/a"),
        ("..", "unnamed"),
    ],
)
def test_no_name_leads_out_of_the_folder(name: str, file: str) -> None:
    assert str(demo.inside(name)) == file


def test_a_result_without_output_writes_nothing(tmp_path: Path) -> None:
    results = tmp_path / "results.ndjson"
    made = {"name": "x.jpg", "bytes_base64": base64.b64encode(b"X").decode()}
    lines: list[dict[str, Any]] = [{"error": "corrupt"}, {"output": {"outputs": [{"image": made}]}}]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert demo.write_thumbnails(results, tmp_path) == [tmp_path / "x.jpg"]
