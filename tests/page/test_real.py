"""The page as the autoscaler itself serves it: the real program, NATS, and a gateway's answers."""

import json
import os
import socket
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import PICTURES, ROOT
from playwright.sync_api import Page, expect

NATS = ROOT / ".tools/nats/bin/nats-server"
STARTS_WITHIN_SECONDS = 60

FUNCTIONS = [
    {
        "name": "thumbnails-worker",
        "image": "thumbnails:1",
        "namespace": "openfaas-fn",
        "replicas": 1,
        "availableReplicas": 1,
        "annotations": {"farm.name": "thumbnails", "farm.policy": "queue"},
    },
    {
        "name": "words-worker",
        "image": "words:1",
        "namespace": "openfaas-fn",
        "replicas": 1,
        "availableReplicas": 1,
        "annotations": {"farm.name": "words", "farm.policy": "queue", "farm.deadline": "2"},
    },
]


class Gateway(BaseHTTPRequestHandler):
    """Answers that there are two functions, one of them with a deadline without a unit."""

    def do_GET(self) -> None:
        """List the functions."""
        body = json.dumps(FUNCTIONS if self.path.startswith("/system/functions") else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep quiet."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def autoscaler(tmp_path: Path) -> Iterator[str]:
    """Run the autoscaler as a function runs, and say where its page is."""
    build = ["cargo", "build", "--quiet", "--locked", "-p", "farm-autoscaler"]
    subprocess.run(build, cwd=ROOT, check=True)
    with ExitStack() as running:
        gateway = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
        running.callback(gateway.server_close)
        running.callback(gateway.shutdown)
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        nats_port = free_port()
        arguments = ["-a", "127.0.0.1", "-p", str(nats_port), "-js", "-sd", str(tmp_path / "store")]
        start(running, [str(NATS), *arguments], {}, tmp_path / "nats.log")
        port, log = free_port(), tmp_path / "autoscaler.log"
        settings = {
            "FARM_GATEWAY_URL": f"http://127.0.0.1:{gateway.server_port}",
            "FARM_NATS_URL": f"nats://127.0.0.1:{nats_port}",
            "FARM_SECRETS_DIR": str(tmp_path),
            "FARM_SCALER_INTERVAL": "500ms",
            "FARM_BIND_ADDRESS": "127.0.0.1",
            "FARM_HTTP_PORT": str(port),
            "FARM_METRICS_PORT": str(free_port()),
        }
        start(running, [str(ROOT / "target/debug/farm-autoscaler")], settings, log)
        url = f"http://127.0.0.1:{port}/"
        wait_for(f"{url}_/health", log)
        yield url


def start(running: ExitStack, words: list[str], settings: dict[str, str], log: Path) -> None:
    """Start a program that ends with the test."""
    output = running.enter_context(log.open("wb"))
    process = subprocess.Popen(
        words, env=os.environ | settings, stdout=output, stderr=subprocess.STDOUT
    )
    running.callback(process.wait)
    running.callback(process.terminate)


def wait_for(url: str, log: Path) -> None:
    """Wait until something answers."""
    pause = threading.Event()
    for _ in range(STARTS_WITHIN_SECONDS * 20):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            pause.wait(0.05)
    pytest.fail(f"the autoscaler does not answer:\n{log.read_text()}")


def test_the_real_autoscaler_serves_a_page_that_works(autoscaler: str, page: Page) -> None:
    answer = page.goto(autoscaler)
    assert answer is not None
    assert answer.ok
    expect(page.locator("#connection-text")).to_contain_text("live")
    expect(page.locator("#leader")).to_contain_text("leads")
    # Nothing has created the farm's streams: it is held, and the page says why.
    expect(page.locator(".notice", has_text="Held since")).to_be_visible()
    # A deadline without a unit is told on the farm that has it.
    expect(page.locator(".notice", has_text='"2" is not a duration')).to_be_visible()
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / "real.png", full_page=True)
