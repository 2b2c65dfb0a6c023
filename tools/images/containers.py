"""Docker's command line: images, containers, one network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

READY_SECONDS = 30
POLL_SECONDS = 0.02
MEGABYTE = 1_000_000
# As a cluster would run it at its strictest: nothing is writable but /tmp, and nothing is allowed.
HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]  # noqa: S108 # in the container
HARDENED += ["--security-opt", "no-new-privileges"]


class TrialError(Exception):
    """What does not hold, in one line."""


def require(holds: bool, otherwise: str) -> None:
    """Fail with the sentence `otherwise`."""
    if not holds:
        raise TrialError(otherwise)


def unavailable() -> str | None:
    """Say why nothing can be tried here, or None."""
    if not shutil.which("docker"):
        return "Docker is not installed"
    answer = subprocess.run(["docker", "version"], check=False, capture_output=True, text=True)  # noqa: S607
    return answer.stderr.strip() or "its daemon does not answer" if answer.returncode else None


def docker(*arguments: str) -> str:
    """Run a command of docker and return what it prints."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)  # noqa: S607
    require(not done.returncode, f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `docker build`; the caller judges how it ended."""
    return captured(["docker", "build", *arguments])


def captured(command: list[str], cwd: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, with both its outputs as one text."""
    return subprocess.run(
        command,
        cwd=cwd,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Cargo's lines, without colours between their words.
        env=os.environ | {"NO_COLOR": "1", "BUILDKIT_PROGRESS": "plain"},
    )


def image_megabytes(image: str) -> float:
    """Size of an image, all layers, uncompressed."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / MEGABYTE


def image_config(image: str) -> dict[str, Any]:
    """Return what an image says of itself: user, labels, entry point."""
    config: dict[str, Any] = json.loads(
        docker("image", "inspect", "--format", "{{json .Config}}", image)
    )
    return config


@dataclass
class Container:
    """One container; on its network it has a shorter name."""

    name: str

    def start(self) -> None:
        """Start its process."""
        docker("start", self.name)

    def kill(self) -> None:
        """End it without a warning."""
        docker("kill", self.name)

    def stop(self, grace_seconds: int) -> None:
        """Send SIGTERM, and SIGKILL when the time is over."""
        docker("stop", "--time", str(grace_seconds), self.name)

    def state(self) -> dict[str, Any]:
        """Return what Docker knows of its process."""
        state: dict[str, Any] = json.loads(
            docker("inspect", "--format", "{{json .State}}", self.name)
        )
        return state

    def started(self) -> float:
        """When its process was started, Unix time."""
        at: str = self.state()["StartedAt"]
        # Nanoseconds are more than Python reads.
        return datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00").timestamp()

    def url(self) -> str:
        """Where its HTTP face is, seen from here."""
        published = captured(["docker", "port", self.name, "8080/tcp"])
        require(not published.returncode, f"{self.name} does not run:\n{self.logs()}")
        return f"http://{published.stdout.splitlines()[0]}"

    def logs(self) -> str:
        """Return the last lines that it wrote."""
        return captured(["docker", "logs", "--tail", "20", self.name]).stdout

    def await_status(self, path: str, wanted: int) -> None:
        """Wait until a GET of `path` is answered with this status."""
        deadline = time.monotonic() + READY_SECONDS
        status: int | None = None
        while (status := get_status(self.url() + path)) != wanted:
            if time.monotonic() > deadline:
                answers = f"{path} answers {status}, not {wanted}"
                raise TrialError(f"{self.name}: {answers}\n{self.logs()}")
            time.sleep(POLL_SECONDS)


def get_status(url: str) -> int | None:
    """Status of a GET, or None where nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def post(url: str, body: object) -> dict[str, Any]:
    """POST a value as JSON; the answer is JSON, too."""
    request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        value: dict[str, Any] = json.load(answer)
        return value


def get_lines(url: str, timeout_seconds: float = 120) -> Iterator[dict[str, Any]]:
    """Yield the values of NDJSON as they come."""
    with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:  # noqa: S310
        for line in answer:
            yield json.loads(line)


class Network:
    """A Docker network and the containers on it; all are gone when it is left."""

    def __init__(self, name: str) -> None:
        """Name it; nothing is made before it is entered."""
        self.name = name
        self.containers: list[Container] = []

    def __enter__(self) -> Network:
        """Make the network."""
        docker("network", "create", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the containers and the network."""
        for container in self.containers:
            docker("rm", "--force", "--volumes", container.name)
        docker("network", "rm", self.name)

    def create(self, name: str, image: str, options: list[str], *command: str) -> Container:
        """Make a container, but do not start it."""
        container = Container(f"{self.name}-{name}")
        where = ["--network", self.name, "--network-alias", name, "--hostname", name]
        docker("create", "--name", container.name, *where, *options, image, *command)
        self.containers.append(container)
        return container

    def function(
        self, name: str, image: str, environment: dict[str, str], *, is_published: bool = True
    ) -> Container:
        """Make a container of a function, hardened; its port 8080 is published here."""
        variables = [word for item in environment.items() for word in ("--env", "=".join(item))]
        published = ["--publish", "127.0.0.1::8080"] if is_published else []
        return self.create(name, image, [*HARDENED, *variables, *published])
