#!/usr/bin/env python3
"""Builds all images with Docker and runs a farm of containers: `make images-test`.

Base images that cannot be pulled are replaced by local stand-ins (stand-ins.sh). Ends with 0 where
there is no Docker: nothing can be tried there.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import farm
from containers import (
    Network,
    TrialError,
    build,
    docker,
    image_config,
    image_megabytes,
    require,
    unavailable,
)
from functions import EXAMPLES, ROOT, Built, Workplace, compiled, crates_within, refused

RUST_IMAGE = "rust:1.95-slim-bookworm"
NATS_IMAGE = "nats:2.12"
VERSION = "0.1.0"
BUILDER = f"ghcr.io/rust-farm/builder:{VERSION}"
AUTOSCALER = "rust-farm-trial/farm-autoscaler:latest"
TASK_MILLISECONDS = 400
# Not among them is farm-sdk: imaging turns on a feature of a crate that the SDK uses.
COMPILED_IN_BUILDER = {"async-nats", "axum", "farm-core", "reqwest", "rustls", "serde", "tokio"}


@dataclass
class Figure:
    """What was measured, beside what it may be at most."""

    name: str
    value: float
    aim: float
    unit: str

    def __str__(self) -> str:
        """One line of the table."""
        verdict = "ok" if self.value <= self.aim else "MISSED"
        return f"{self.name:42} {self.value:8.1f} {self.unit:3} aim <= {self.aim:g}  {verdict}"


def main() -> int:
    """Try everything; 0 means that all of it holds, or that there is no Docker."""
    why = unavailable()
    if why:
        print(f"images-test: skipped: {why}")
        return 0
    # What runs is removed, however this ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="rust-farm-images-") as folder:
            figures = try_all(Path(folder))
    except TrialError as error:
        print(f"images-test: {error}", file=sys.stderr)
        return 1
    step("figures")
    for figure in figures:
        print(figure)
    return int(any(figure.value > figure.aim for figure in figures))


def step(text: str) -> None:
    """Say what comes next."""
    print(f"== {text}", flush=True)


def try_all(folder: Path) -> list[Figure]:
    """Build the images, then run them."""
    for tool in ("nats-server.sh", "faas-cli.sh"):
        done = subprocess.run([ROOT / "tools" / tool], check=False)
        require(not done.returncode, f"tools/{tool} failed")
    step("base images")
    for image in stand_ins():
        print(f"{image} is a local stand-in")
    step("images of this repository")
    build_own("builder", BUILDER)
    build_own("autoscaler", AUTOSCALER)
    step("functions, by faas-cli build")
    workplace = Workplace(folder)
    built = {name: build_function(workplace, name) for name in ["hello", *EXAMPLES]}
    hello_megabytes = image_megabytes(built["hello"].image)
    docker("tag", built["hello"].image, "rust-farm-trial/hello:quick")
    step("what a build refuses")
    try_refusals(workplace)
    step("handler-only rebuild")
    rebuild_seconds = rebuild(workplace)
    step("SBOM and labels")
    describe(workplace)
    for image in [AUTOSCALER, *(one.image for one in built.values())]:
        check_hardening(image)
    first_task_milliseconds = try_farms({name: one.image for name, one in built.items()})
    return [
        Figure("handler-only rebuild, warm builder", rebuild_seconds, 20, "s"),
        Figure("image of a new function", hello_megabytes, 20, "MB"),
        Figure("image of the autoscaler", image_megabytes(AUTOSCALER), 30, "MB"),
        Figure("container start to first task, median", first_task_milliseconds, 300, "ms"),
    ]


def stand_ins() -> list[str]:
    """Have all base images; name those that are made here."""
    script = ROOT / "tools/images/stand-ins.sh"
    server = ROOT / ".tools/nats/bin/nats-server"
    done = subprocess.run(
        [script, RUST_IMAGE, NATS_IMAGE, server], check=False, stdout=subprocess.PIPE, text=True
    )
    require(not done.returncode, "no base images")
    return done.stdout.split()


def build_own(target: str, image: str) -> None:
    """Build one target of the Dockerfile at the top."""
    started = time.monotonic()
    done = build("--target", target, "--tag", image, str(ROOT))
    require(not done.returncode, f"{target} does not build:\n{done.stdout[-4000:]}")
    seconds = time.monotonic() - started
    print(f"{target}: {image_megabytes(image):.1f} MB, {seconds:.0f} s", flush=True)


def build_function(workplace: Workplace, name: str) -> Built:
    """Build a function: the SDK must not be compiled again, and its own tests must have run."""
    built = workplace.build(name)
    size = image_megabytes(built.image)
    print(f"{name}: {size:.1f} MB, {built.seconds:.0f} s, compiled: {' '.join(built.crates)}")
    require("test result: ok." in built.log, f"{name}: no test has run:\n{built.log[-4000:]}")
    again = sorted(COMPILED_IN_BUILDER & set(built.crates))
    require(not again, f"{name}: the builder has {again} compiled, yet they were again")
    return built


def try_refusals(workplace: Workplace) -> None:
    """Another SDK version, a lock file that does not fit, a test that fails."""
    context = workplace.context("hello")
    manifest = (context / "function/Cargo.toml").read_text()
    newer = manifest.replace('farm-sdk = "0.1"', 'farm-sdk = "0.2"')
    lock = 'version = 4\n\n[[package]]\nname = "function"\nversion = "0.1.0"\n'
    locked = lock + '\n[[package]]\nname = "farm-sdk"\nversion = "0.1.9"\n'
    main = (context / "function/src/main.rs").read_text()
    wrong = main.replace("words: 6", "words: 7")
    cases: list[tuple[str, dict[str, str | None], str]] = [
        ("Cargo.toml of another SDK", {"function/Cargo.toml": newer}, "asks for farm-sdk ^0.2"),
        ("Cargo.lock of another SDK", {"function/Cargo.lock": locked}, "has farm-sdk 0.1.9"),
        ("Cargo.lock that does not fit", {"function/Cargo.lock": lock}, "--locked"),
        ("a failing test", {"function/src/main.rs": wrong}, "words_are_counted ... FAILED"),
    ]
    for what, change, said in cases:
        log = refused(context, change)
        lines = [line for line in log.splitlines() if said in line]
        require(bool(lines), f"{what}: nothing says {said!r}:\n{log[-3000:]}")
        print(f"{what}: {lines[0].strip()}", flush=True)


def rebuild(workplace: Workplace) -> float:
    """Change the handler of hello and build again, with faas-cli; then without any network."""
    workplace.slow_down("hello", TASK_MILLISECONDS)
    built = workplace.build("hello")
    print(f"{built.seconds:.1f} s, compiled: {' '.join(built.crates)}", flush=True)
    require(built.crates == ["function"], "more than the user's crate was compiled")
    alone = build("--no-cache", "--network", "none", str(workplace.context("hello")))
    require(not alone.returncode, f"without a network:\n{alone.stdout[-4000:]}")
    require(compiled(alone.stdout) == ["function"], "without a network, more was compiled")
    print("without a network: builds as well")
    return built.seconds


def describe(workplace: Workplace) -> None:
    """Ask for the list of crates and for a label; both are in the image."""
    built = workplace.build("hello", "FARM_SBOM=1", "IMAGE_REVISION=1f2e3d")
    crates = crates_within(built.image, workplace.folder)
    require(crates.get("farm-sdk") == VERSION, f"the list of crates: {crates}")
    label = image_config(built.image)["Labels"]["org.opencontainers.image.revision"]
    require(label == "1f2e3d", f"label revision: {label}")
    print(f"{len(crates)} crates in the list of the binary", flush=True)


def check_hardening(image: str) -> None:
    """Require that the user is a number and not root, and that there is no shell."""
    user = image_config(image)["User"]
    require(user.split(":")[0].isdigit() and int(user.split(":")[0]) > 0, f"{image}: user {user!r}")
    try:
        docker("run", "--rm", "--entrypoint", "/bin/sh", image, "-c", "true")
    except TrialError:
        return
    raise TrialError(f"{image} has a shell")


def try_farms(images: dict[str, str]) -> float:
    """Run the farms on one network; return the cold start in milliseconds."""
    with Network("rust-farm-trial") as network:
        step("NATS")
        farm.start_nats(network, NATS_IMAGE)
        trials: list[tuple[str, Callable[[], None]]] = [
            ("a worker killed, another drained", lambda: farm.lose_workers(network, images)),
            ("mandelbrot", lambda: farm.draw(network, images["mandelbrot"])),
            ("imaging", lambda: farm.shrink(network, images["imaging"])),
            ("autoscaler", lambda: farm.start_autoscaler(network, AUTOSCALER)),
        ]
        for name, trial in trials:
            step(name)
            trial()
        step("container start to first task")
        starts = farm.cold_starts(network, "rust-farm-trial/hello:quick")
        called = 1000 * statistics.median(start.since_called_seconds for start in starts)
        print(f"from the call of docker start, Docker's own work included: {called:.0f} ms")
        return 1000 * statistics.median(start.since_started_seconds for start in starts)


if __name__ == "__main__":
    sys.exit(main())
