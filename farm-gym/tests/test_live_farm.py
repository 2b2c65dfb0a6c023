"""`farm/LiveFarm-v0` on a farm under `farm up`: real processes, NATS, gateway and autoscaler."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import farm_gym
import gymnasium as gym
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FARM = ROOT / "target/debug/farm"
NATS = ROOT / ".tools/nats/bin/nats-server"
# The first time, the sleeper is compiled.
STARTS_WITHIN_SECONDS = 900
STOPS_WITHIN_SECONDS = 60
INTERVAL_SECONDS = 0.5

STACK = f"""\
version: 1.0
provider: {{name: openfaas, gateway: http://127.0.0.1:8080}}
functions:
  sleeper:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    environment: {{FARM_NAME: sleeper, FARM_ROLE: "emitter,collector"}}
  sleeper-worker:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    skip_build: true
    environment: {{FARM_NAME: sleeper, FARM_ROLE: worker, FARM_TELEMETRY_INTERVAL: 200ms}}
    annotations:
      farm.name: sleeper
      farm.policy: external
      farm.interval: {1000 * INTERVAL_SECONDS:.0f}ms
      farm.max: "6"
      farm.stabilisation: 0s
      farm.cooldown: 0s
      farm.deadline: 2s
  own-worker:
    lang: rust-farm
    handler: ./sleeper
    image: test/sleeper:1
    skip_build: true
    environment: {{FARM_NAME: own, FARM_ROLE: worker}}
    annotations: {{farm.name: own, farm.policy: queue}}
  farm-autoscaler:
    lang: dockerfile
    handler: .
    skip_build: true
    image: test/farm-autoscaler:1
    environment: {{FARM_SCALER_INTERVAL: 500ms}}
    secrets: [basic-auth]
"""


class LiveFarm:
    """A farm under `farm up`."""

    def __init__(self, folder):
        """Start it."""
        self.folder = folder
        self.log = folder / "up.log"
        shutil.copytree(ROOT / "template", folder / "template")
        shutil.copytree(ROOT / "examples/sleeper", folder / "sleeper")
        (folder / "stack.yml").write_text(STACK, encoding="utf-8")
        words = [FARM, "up", "--port", str(free_port()), "--verbose"]
        words += ["--target-dir", ROOT / "target", "--nats-server", NATS]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, cwd=folder, stdout=log, stderr=log, env=environment()
            )
        self.wait_for("Ctrl-C drains", STARTS_WITHIN_SECONDS)
        up = json.loads((folder / ".farm/up.json").read_text(encoding="utf-8"))
        self.gateway = up["gateway_url"].rstrip("/")

    def wait_for(self, line, seconds):
        """Wait until it says so."""
        pause = threading.Event()
        for _ in range(seconds * 20):
            if line in self.log.read_text(errors="replace"):
                return
            assert self.process.poll() is None, self.log.read_text(errors="replace")
            pause.wait(0.05)
        pytest.fail(f"no {line!r}:\n{self.log.read_text(errors='replace')}")

    def submit(self, tasks):
        """Give it work."""
        words = [FARM, "submit", "sleeper", "--value", json.dumps(tasks), "--json"]
        subprocess.run(
            words, cwd=self.folder, check=True, env=environment(), stdout=subprocess.DEVNULL
        )

    def stop(self):
        """Take it down."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(STOPS_WITHIN_SECONDS)

    def make(self, **options):
        """Return the environment of it."""
        options = {
            "farm": "sleeper",
            "url": f"{self.gateway}/function/farm-autoscaler",
            "password_file": self.folder / ".farm/gateway-password",
            **options,
        }
        return gym.make("farm_gym:farm/LiveFarm-v0", **options)


def environment():
    """Return a process environment without what this machine's user or cargo set up."""
    unwanted = ("OPENFAAS_URL", "CARGO_TARGET_DIR", "RUSTFLAGS", "VIRTUAL_ENV")
    return {key: value for key, value in os.environ.items() if key not in unwanted}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    build = ["cargo", "build", "--quiet", "--locked", "-p", "farm-cli"]
    subprocess.run(build, cwd=ROOT, check=True)
    farm = LiveFarm(tmp_path_factory.mktemp("live"))
    yield farm
    farm.stop()


def test_ten_steps_scale_real_processes(live):
    env = live.make(max_steps=10, render_mode="ansi", observation="farm", reward="missed-tasks")
    assert env.action_space.n == 3
    live.submit([{"seconds": 0.2}] * 400)
    observation, info = env.reset(seed=1)
    assert observation in env.observation_space
    begun, parallelism = info["time_seconds"], info["parallelism"]
    busy = 0
    for step, (action, change) in enumerate([(2, 1)] * 4 + [(1, 0)] * 3 + [(0, -1)] * 3, start=1):
        observation, reward, terminated, truncated, after = env.step(action)
        assert observation in env.observation_space
        assert np.isfinite(reward)
        parallelism = min(max(parallelism + change, 1), 6)
        assert after["parallelism"] == parallelism
        assert after["sequence"] > info["sequence"]
        assert (terminated, truncated) == (False, step == 10)
        busy = max(busy, after["in_flight_tasks"])
        info = after
    # Workers that were started took tasks, and each step was an interval.
    assert busy > 1
    assert info["time_seconds"] - begun >= 0.9 * 10 * INTERVAL_SECONDS
    assert info["backlog_tasks"] < 400
    assert len(env.render().splitlines()) == 11
    env.close()
    env.close()


def test_free_actions_are_within_the_bounds_of_the_farm(live):
    env = live.make(actions="free", observation="paper", reward="paper")
    assert env.action_space.n == 6
    env.reset()
    assert env.step(2)[4]["parallelism"] == 3
    assert env.observation_space.shape == (9,)


def test_what_cannot_work_is_said_at_once(live, tmp_path, monkeypatch):
    with pytest.raises(farm_gym.LiveFarmError, match="to external to scale it"):
        live.make(farm="own")
    with pytest.raises(farm_gym.LiveFarmError, match="answered 404: farm nobody is not scaled"):
        live.make(farm="nobody")
    with pytest.raises(farm_gym.LiveFarmError, match="Is the farm up"):
        live.make(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ValueError, match="write it like http://"):
        live.make(url="127.0.0.1:8080")
    wrong = tmp_path / "password"
    wrong.write_text("guessed\n", encoding="utf-8")
    with pytest.raises(farm_gym.LiveFarmError, match=r"answered 401: .*password_file="):
        live.make(password_file=wrong).reset()
    # Neither named nor found here: the request carries none.
    with pytest.raises(farm_gym.LiveFarmError, match="answered 401"):
        live.make(password_file=None).reset()
    monkeypatch.chdir(live.folder)
    live.make(password_file=None).reset()
    monkeypatch.chdir(tmp_path)
    right = live.folder / ".farm/gateway-password"
    monkeypatch.setenv("FARM_GATEWAY_PASSWORD_FILE", str(right))
    live.make(password_file=None).reset()
