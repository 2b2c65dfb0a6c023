"""Farms of containers: workers that are killed and drained, and how fast one starts."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import Any

from containers import Container, Network, get_lines, get_status, post, require

NATS = "nats://nats:4222"
WORKERS = 3
TASKS = 60
GRACE_SECONDS = 20
STARTS = 7
OK = 200


@dataclass
class ColdStart:
    """How long until the first task's result was seen here."""

    since_started_seconds: float  # since Docker had started the container's process
    since_called_seconds: float  # since `docker start` was called: Docker's own work, too


def start_nats(network: Network, image: str) -> None:
    """Start a NATS server with JetStream; what it stores is in memory."""
    options = ["--read-only", "--tmpfs", "/data"]
    nats = network.create("nats", image, options, "--jetstream", "--store_dir", "/data")
    nats.start()


def function(network: Network, name: str, image: str, farm: str, role: str) -> Container:
    """Make a replica of a farm's function."""
    environment = {
        "FARM_NAME": farm,
        "FARM_ROLE": role,
        "FARM_NATS_URL": NATS,
        # One task a message, and a lost one is soon delivered again.
        "FARM_GRANULARITY": "off",
        "FARM_ACK_WAIT": "2s",
        # What a farm may store is reserved in NATS.
        "FARM_QUEUE_MAX_BYTES": "64MiB",
        "FARM_GRACE_PERIOD": f"{GRACE_SECONDS - 2}s",
    }
    return network.function(name, image, environment, is_published=role != "worker")


def lose_workers(network: Network, images: dict[str, str]) -> None:
    """Kill a worker in the middle of a task and drain another: each task has its one result."""
    front = function(network, "front", images["hello"], "words", "emitter,collector")
    front.start()
    front.await_status("/_/ready", OK)
    require(get_status(front.url() + "/_/health") == OK, "health is not 200")
    names = [f"worker-{number}" for number in range(WORKERS)]
    workers = [function(network, name, images["hello"], "words", "worker") for name in names]
    for worker in workers:
        worker.start()

    texts = [{"text": "word " * (1 + number)} for number in range(TASKS)]
    job = post(front.url(), texts)["job"]
    outcomes: dict[str, dict[str, Any]] = {}
    heard: set[str] = set()
    lost = False
    for outcome in get_lines(f"{front.url()}/jobs/{job}/results"):
        require(outcome["task"] not in outcomes, f"two results of task {outcome['task']}")
        outcomes[outcome["task"]] = outcome
        heard.add(outcome["worker"])
        # All compute: so the one that is killed is in the middle of a task.
        if len(heard) == WORKERS and not lost:
            lost = True
            workers[0].kill()
            drain(workers[1])
    require(lost, f"only {sorted(heard)} computed")
    check_words(outcomes)
    repeated = [outcome["task"] for outcome in outcomes.values() if outcome["attempt"] > 1]
    require(len(repeated) == 1, f"the killed worker had one task, delivered again: {repeated}")
    print(f"{len(outcomes)} of {TASKS} results, each once; delivered again: {len(repeated)}")


def drain(worker: Container) -> None:
    """Stop a worker as Kubernetes would: it finishes its task and ends by itself."""
    started = time.monotonic()
    worker.stop(GRACE_SECONDS)
    code = worker.state()["ExitCode"]
    require(code == 0, f"{worker.name} was told to stop and ended with {code}")
    print(f"drained by docker stop in {time.monotonic() - started:.1f} s, exit code 0")


def check_words(outcomes: dict[str, dict[str, Any]]) -> None:
    """Every task was done, with the right result."""
    counts = sorted(outcome["output"]["words"] for outcome in outcomes.values())
    require(counts == list(range(1, TASKS + 1)), f"results are not those of the tasks: {counts}")


def run_job(network: Network, name: str, image: str, body: object) -> dict[str, Any]:
    """Run a whole farm in one container, give it one job and wait for it."""
    whole = function(network, name, image, name, "emitter,worker,collector")
    whole.start()
    whole.await_status("/_/ready", OK)
    answer = post(f"{whole.url()}/?wait=60s", body)
    require(answer["done"] > 0 and answer["failed"] == 0, f"{name}: {answer}")
    return answer


def draw(network: Network, image: str) -> None:
    """Let mandelbrot draw a small picture."""
    picture = {"width_pixels": 400, "height_pixels": 300, "samples_per_side": 1}
    answer = run_job(network, "mandelbrot", image, picture)
    png = base64.b64decode(answer["summary"]["png_base64"])
    require(png.startswith(b"\x89PNG"), "the summary holds no PNG")
    print(f"{answer['done']} tiles, a picture of {len(png)} bytes")


def shrink(network: Network, image: str) -> None:
    """Let imaging make a thumbnail of an image it makes up."""
    task = {"synthetic": {"width_pixels": 800, "height_pixels": 600, "seed": 7}}
    answer = run_job(network, "imaging", image, task)
    print(f"{answer['done']} thumbnail")


def start_autoscaler(network: Network, image: str) -> None:
    """Start the autoscaler: alive, and not ready while there is no gateway."""
    environment = {"FARM_NATS_URL": NATS, "FARM_GATEWAY_URL": "http://gateway:8080"}
    scaler = network.function("farm-autoscaler", image, environment)
    scaler.start()
    scaler.await_status("/_/health", OK)
    scaler.stop(GRACE_SECONDS)
    code = scaler.state()["ExitCode"]
    require(code == 0, f"the autoscaler was told to stop and ended with {code}")
    print("healthy; stopped with exit code 0")


def cold_starts(network: Network, image: str) -> list[ColdStart]:
    """Start workers, one after the other, each while one task waits for it."""
    front = function(network, "cold-front", image, "cold", "emitter,collector")
    front.start()
    front.await_status("/_/ready", OK)
    starts = []
    for number in range(STARTS):
        job = post(front.url(), {"text": "to be or not to be"})["job"]
        worker = function(network, f"cold-{number}", image, "cold", "worker")
        called = time.time()
        worker.start()
        outcome = next(get_lines(f"{front.url()}/jobs/{job}/results"))
        done = time.time()
        require(outcome["outcome"] == "done", f"the first task was not done: {outcome}")
        starts.append(ColdStart(done - worker.started(), done - called))
        worker.stop(GRACE_SECONDS)
    return starts
