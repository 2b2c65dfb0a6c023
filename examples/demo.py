#!/usr/bin/env python3
"""Runs two example farms on this machine: a fractal in tiles, and thumbnails of a folder of photos.

The autoscaler runs beside them: their workers become more while there is work, and fewer after it.

`make demo` builds the `farm` command and calls this. Everything it makes goes to `out/`.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import math
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "out"
UP_RECORD = ROOT / ".farm" / "up.json"

# Large enough that there is time to see workers come and go.
PICTURE = {"width_pixels": 2880, "height_pixels": 1800, "samples_per_side": 4}
PHOTOS = 48
AUTOSCALER = "farm-autoscaler"
WORKERS = {"mandelbrot": "mandelbrot-worker", "imaging": "imaging"}
POLL_SECONDS = 0.25
ANSWER_SECONDS = 5
SHRINK_SECONDS = 45
FIRST_BUILD_SECONDS = 1800
STOP_SECONDS = 60
JOB_ENDED_INCOMPLETE = 3


class DemoError(Exception):
    """What went wrong, in one line for a person."""


def main() -> int:
    """Run the demonstration; 0 means that nothing was lost, doubled or failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--farm", type=Path, default=ROOT / "target/release/farm", help="the command"
    )
    parser.add_argument(
        "--images", type=Path, help="your own folder of images, instead of made-up ones"
    )
    parser.add_argument(
        "--picture", default=json.dumps(PICTURE), help="what mandelbrot is to draw, as JSON"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demonstrate(options.farm.resolve(), options.images, options.picture)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130
    return 0


def demonstrate(farm: Path, images: Path | None, picture: str) -> None:
    """Bring the farms up, give them work, show what came of it, take them down."""
    OUT.mkdir(exist_ok=True)
    for left_over in (OUT / "photos", OUT / "thumbnails"):
        shutil.rmtree(left_over, ignore_errors=True)
    if images is None:
        images = OUT / "photos"
        make_photos(images, PHOTOS)
    elif not images.is_dir():
        raise DemoError(f"{images} is no folder")

    heading("farms: starting them (the first time, their crates are compiled)")
    with running_farms(farm, OUT / "farm-up.log") as gateway, watched_pools(gateway) as pools:
        is_scaled = introduce_autoscaler(gateway)
        heading("mandelbrot: one picture, as a farm of tiles")
        summary = OUT / "mandelbrot.json"
        tiles = submit(farm, gateway.url, "mandelbrot", ["--value", picture], summary)
        heading(f"imaging: thumbnails of {images}")
        results = OUT / "thumbnails.ndjson"
        thumbnails = submit(farm, gateway.url, "imaging", [str(images.resolve())], results)
        if is_scaled:
            heading("workers: nothing to do, so there will be fewer")
            await_shrinking(pools)
        heading("farms: stopping them")

    written = [write_picture(summary), *write_thumbnails(results, OUT / "thumbnails")]
    heading("done")
    print(table([tiles, thumbnails], {pool.farm: pool for pool in pools}))
    print(f"\n{shown(written[0])} and {len(written) - 1} files in {shown(OUT / 'thumbnails')}/")
    if is_scaled:
        print(f"while `farm up` runs, scaling is shown live at {gateway.scaling_url}")
    for report in (tiles, thumbnails):
        report.check()


def heading(text: str) -> None:
    """Say what comes next."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"\n{bold}== {text}{plain}", flush=True)


def shown(path: Path) -> str:
    """Shorten a path to what a person in the repository would type."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


# --- made-up photos -----------------------------------------------------------------------------


def make_photos(folder: Path, count: int) -> None:
    """Write `count` PNG files of various sizes, the same ones at every run."""
    folder.mkdir()
    chance = random.Random(7)
    for number in range(count):
        width_pixels, height_pixels = chance.randint(400, 2400), chance.randint(300, 1800)
        image = png(width_pixels, height_pixels, waves(width_pixels, height_pixels, chance))
        (folder / f"photo-{number:02}.png").write_bytes(image)


def waves(width_pixels: int, height_pixels: int, chance: random.Random) -> Iterator[bytes]:
    """Yield the RGB rows of an image of coloured waves."""
    period_pixels = chance.randint(120, 400)
    phases = [chance.uniform(0, math.tau) for _ in range(3)]
    swing_pixels, sway = chance.uniform(20, 120), chance.uniform(0.004, 0.02)
    turns = [math.tau * x / period_pixels for x in range(period_pixels)]
    band = bytes(int(127 + 120 * math.sin(turn + phase)) for turn in turns for phase in phases)
    line = band * (width_pixels // period_pixels + 2)
    for y in range(height_pixels):
        start = int(swing_pixels * math.sin(y * sway) + y / 2) % period_pixels * 3
        yield line[start : start + width_pixels * 3]


def png(width_pixels: int, height_pixels: int, rows: Iterator[bytes]) -> bytes:
    """Encode 8-bit RGB rows as a PNG file."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width_pixels, height_pixels, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# --- the farms ----------------------------------------------------------------------------------


@contextmanager
def running_farms(farm: Path, log: Path) -> Iterator[Gateway]:
    """Keep `farm up` running; give its gateway."""
    command = [str(farm), "up", "-f", "stack.yml"]
    # Verbose, because compiling in silence looks like hanging.
    command += ["--filter", "mandelbrot*", "imaging", AUTOSCALER, "--verbose"]
    up = FarmUp(command, log)
    try:
        yield Gateway(up.gateway_url())
    except BaseException:
        up.stop()
        raise
    status = up.stop()
    if status != 0:
        raise DemoError(f"farm up ended with status {status}: see {shown(log)}")


class FarmUp:
    """The `farm up` process; what it says is logged, and shown until it is ready."""

    def __init__(self, command: list[str], log: Path) -> None:
        """Start it."""
        self.log = log
        self.is_ready = False
        # A session of its own: Ctrl-C is for this script, which then stops the farms in order.
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._keep_output, daemon=True)
        self.reader.start()

    def _keep_output(self) -> None:
        output: IO[bytes] | None = self.process.stdout
        if output is None:
            return
        with output, self.log.open("wb") as log:
            for line in output:
                log.write(line)
                log.flush()
                if not self.is_ready:
                    sys.stdout.write(line.decode(errors="replace"))
                    sys.stdout.flush()

    def gateway_url(self) -> str:
        """Wait until every function is ready."""
        give_up = time.monotonic() + FIRST_BUILD_SECONDS
        while time.monotonic() < give_up:
            status = self.process.poll()
            if status is not None:
                raise DemoError(f"farm up ended with status {status}: see {shown(self.log)}")
            if url := self._url_when_ready():
                self.is_ready = True
                return url
            time.sleep(0.1)
        raise DemoError(
            f"the farms were not ready in {FIRST_BUILD_SECONDS} s: see {shown(self.log)}"
        )

    def _url_when_ready(self) -> str | None:
        try:
            record = json.loads(UP_RECORD.read_text())
        except FileNotFoundError:
            return None
        # One that was killed may have left its record.
        return str(record["gateway_url"]) if record["pid"] == self.process.pid else None

    def stop(self) -> int:
        """Let the farms finish, as Ctrl-C would; give the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            late = f"farm up did not stop in {STOP_SECONDS} s: see {shown(self.log)}"
            raise DemoError(late) from None
        finally:
            # Reached alive only if it hangs or somebody lost patience: nothing may stay behind.
            if self.process.poll() is None:
                self.process.kill()
        self.reader.join(STOP_SECONDS)
        return status


@dataclass(frozen=True)
class Gateway:
    """The gateway that `farm up` serves."""

    url: str

    @property
    def scaling_url(self) -> str:
        """Where the autoscaler shows what it does."""
        return f"{self.url}/function/{AUTOSCALER}/"

    def get(self, path: str) -> bytes | None:
        """Give what is at `path`, or nothing if it cannot be had."""
        request = urllib.request.Request(self.url + path)  # noqa: S310 - our own gateway
        password = UP_RECORD.with_name("gateway-password")
        if password.exists():
            credentials = f"admin:{password.read_text().strip()}".encode()
            request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=ANSWER_SECONDS) as answer:
                return bytes(answer.read())
        except (OSError, http.client.HTTPException):
            return None

    def status(self, function: str) -> dict[str, Any] | None:
        """Give the state of a function, if it is deployed."""
        body = self.get(f"/system/function/{function}")
        return dict(json.loads(body)) if body else None


# --- their workers ------------------------------------------------------------------------------


class Pool:
    """The workers of one farm: how many there are, and have been."""

    def __init__(self, farm: str, function: str) -> None:
        """Know nothing yet."""
        self.farm = farm
        self.function = function
        self.least = 1
        self.sizes: list[int] = []

    def look(self, gateway: Gateway) -> None:
        """Count its workers, and say so when their number changed."""
        status = gateway.status(self.function)
        if status is None:
            return
        annotations = status.get("annotations") or {}
        self.least = int(annotations.get("farm.min", 1))
        size = int(status.get("availableReplicas", 0))
        if not self.sizes:
            self.sizes.append(size)
        elif size != self.sizes[-1]:
            # A progress bar may stand in this line: it is drawn again below.
            clear = "\r\033[K" if sys.stdout.isatty() else ""
            print(f"{clear}{self.farm}: workers {self.sizes[-1]} → {size}", flush=True)
            self.sizes.append(size)

    def has_shrunk(self) -> bool:
        """Tell whether it is as small as it may be."""
        return not self.sizes or self.sizes[-1] <= self.least

    def cell(self) -> str:
        """Write its smallest and its largest size."""
        return f"{min(self.sizes)}/{max(self.sizes)}" if self.sizes else "-"


@contextmanager
def watched_pools(gateway: Gateway) -> Iterator[list[Pool]]:
    """Keep looking at the workers of every farm."""
    pools = [Pool(farm, function) for farm, function in WORKERS.items()]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(POLL_SECONDS):
            for pool in pools:
                pool.look(gateway)

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield pools
    finally:
        ended.set()
        watching.join(ANSWER_SECONDS * len(pools))


def introduce_autoscaler(gateway: Gateway) -> bool:
    """Say where the autoscaler shows what it does, or that it is not there."""
    if gateway.get(f"/function/{AUTOSCALER}/farms") is None:
        print("no autoscaler answers: the number of workers stays as it is", flush=True)
        return False
    print(f"scaling, live: {gateway.scaling_url}", flush=True)
    return True


def await_shrinking(pools: list[Pool]) -> None:
    """Wait for the autoscaler to take back what it gave, but not for ever."""
    give_up = time.monotonic() + SHRINK_SECONDS
    while not all(pool.has_shrunk() for pool in pools) and time.monotonic() < give_up:
        time.sleep(POLL_SECONDS)
    for pool in pools:
        if not pool.has_shrunk():
            print(f"{pool.farm}: still {pool.sizes[-1]} workers after {SHRINK_SECONDS} s")


# --- their work ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """The account of one job, as `farm submit --wait --json` prints it."""

    farm: str
    account: dict[str, Any]

    def check(self) -> None:
        """Raise unless every task ended in exactly one result."""
        kinds = ["failed", "cancelled", "unfinished", "lost", "duplicates"]
        wrong = [f"{self.account[kind]} {kind}" for kind in kinds if self.account[kind]]
        if wrong:
            raise DemoError(f"{self.farm}: {', '.join(wrong)} of {self.account['accepted']} tasks")

    def row(self, pool: Pool | None) -> list[str]:
        """Write the account as cells of a table."""
        account = self.account
        sojourn = account["sojourn_seconds"] or {}
        counts = [account[key] for key in ("accepted", "done", "lost", "duplicates")]
        share = account["qos_ratio"]
        return [
            self.farm,
            *map(str, counts),
            f"{account['throughput_per_second']:.1f}",
            *(f"{sojourn[quantile]:.2f} s" if sojourn else "-" for quantile in ("p50", "p99")),
            "-" if share is None else f"{100 * share:.1f} %",
            pool.cell() if pool else "-",
        ]


def submit(farm: Path, gateway: str, function: str, work: list[str], out: Path) -> Report:
    """Submit a job, wait for its end, and give its account; progress goes to the terminal."""
    command = [str(farm), "submit", function, *work, "--gateway", gateway]
    command += ["--wait", "--json", "--out", str(out)]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if finished.returncode not in (0, JOB_ENDED_INCOMPLETE):
        raise DemoError(f"farm submit {function} ended with status {finished.returncode}")
    return Report(function, json.loads(finished.stdout))


def table(reports: list[Report], pools: dict[str, Pool]) -> str:
    """Write the accounts as a table."""
    head = ["farm", "tasks", "results", "lost", "duplicates", "tasks/s"]
    head += ["sojourn p50", "sojourn p99", "inside deadline", "workers min/max"]
    rows = [head, *(report.row(pools.get(report.farm)) for report in reports)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = (
        [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        for row in rows
    )
    return "\n".join("  ".join(cells) for cells in aligned)


def write_picture(summary: Path) -> Path:
    """Write the PNG that the collector of `mandelbrot` put together."""
    picture = json.loads(summary.read_text()).get("png_base64")
    if picture is None:
        raise DemoError(f"{shown(summary)} holds no picture")
    file = summary.with_suffix(".png")
    file.write_bytes(base64.b64decode(picture))
    return file


def write_thumbnails(results: Path, folder: Path) -> list[Path]:
    """Write the images that `imaging` made, under the names it gave them."""
    files = []
    with results.open() as lines:
        for line in lines:
            output = json.loads(line).get("output") or {"outputs": []}
            for image in filter(None, (made.get("image") for made in output["outputs"])):
                file = folder / inside(image["name"])
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(base64.b64decode(image["bytes_base64"]))
                files.append(file)
    return files


def inside(name: str) -> PurePosixPath:
    """Drop whatever would lead out of the folder a file is written to."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
    return PurePosixPath(*parts or ["unnamed"])


if __name__ == "__main__":
    sys.exit(main())
