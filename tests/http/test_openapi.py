"""The HTTP face does what docs/openapi.yaml says, whatever it is sent."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from replica import ROOT, TOKEN, Sleeper

HERE = Path(__file__).parent
DESCRIPTION = ROOT / "docs" / "openapi.yaml"
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
SEED = 20_240_607
# What a sleeper takes, without what takes long, ends its process, or JSON Schema says otherwise:
# to it 1.0 is an integer.
TASK = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "fail": {"enum": ["transient", "permanent", "panic", None]},
        "spin": {"type": "boolean"},
        "block": {"type": "boolean"},
    },
}


@pytest.fixture(scope="module")
def binary() -> Path:
    """Build the sleeper."""
    command = ["cargo", "build", "--locked", "-p", "sleeper", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    artefacts = [json.loads(line) for line in built.stdout.splitlines()]
    (executable,) = (a["executable"] for a in artefacts if a.get("executable"))
    return Path(executable)


@pytest.fixture
def sleeper(binary: Path, tmp_path: Path) -> Iterator[Sleeper]:
    """Run a farm."""
    sleeper = Sleeper(binary, tmp_path)
    yield sleeper
    sleeper.stop()


def description_of_sleeper() -> dict[str, Any]:
    """Read the description, with the sleeper's tasks and with waits that are short."""
    description: dict[str, Any] = yaml.safe_load(DESCRIPTION.read_text())
    description["components"]["schemas"]["Task"] = TASK
    submit = description["paths"]["/"]["post"]
    # It takes no raw bytes, and schemathesis writes no MessagePack.
    for kind in ("application/octet-stream", "application/msgpack"):
        del submit["requestBody"]["content"][kind]
    # A repeat is answered as the first was, whatever its body says.
    submit["parameters"] = [p for p in submit["parameters"] if p["name"] != "Idempotency-Key"]
    (wait,) = (p for p in submit["parameters"] if p["name"] == "wait")
    wait["schema"] = {"type": "string", "enum": ["0s", "50ms", "1s"]}
    # Nobody listens there.
    (callback,) = (p for p in submit["parameters"] if p["name"] == "X-Callback-Url")
    callback["schema"] = {"type": "string", "enum": ["http://127.0.0.1:9/callback"]}
    return description


def test_whatever_is_sent_is_answered_as_described(sleeper: Sleeper, tmp_path: Path) -> None:
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(description_of_sleeper()))
    command: list[str | Path] = [
        *(SCHEMATHESIS, "run", description, "--url", sleeper.url),
        *("--header", f"Authorization: Bearer {TOKEN}"),
        # A job that is deleted is cancelled: its account stays. Not every job has a summary.
        *("--checks", "all", "--exclude-checks", "use_after_free,ensure_resource_availability"),
        *("--phases", "examples,coverage,fuzzing,stateful"),
        *("--max-examples", "60", "--seed", str(SEED), "--workers", "1"),
        *("--request-timeout", "20", "--continue-on-failure", "--no-color"),
    ]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "ndjson", "PYTHONPATH": str(HERE)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    print(run.stdout[-20_000:])
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    assert "panicked at farm" not in sleeper.log()
