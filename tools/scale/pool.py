"""How tasks queue at the workers, by `farm simulate`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

# Service time of the simulated pool: waits grow in proportion to it.
SIMULATED_SECONDS = 0.01


def simulate(farm: Path, workers: int, used: float, allowed_seconds: float) -> float:
    """Simulate a pool; give the share of tasks that waited for longer than allowed."""
    rate = used * workers / SIMULATED_SECONDS
    # Enough for each worker to see many; the simulator takes 5 million.
    seconds = 20_000 * max(1.0, workers / 10) / rate
    scenario = {
        "name": f"{workers} workers",
        "workload": {
            "arrivals": {"poisson": {"rate": {"constant": rate}, "seconds": seconds}},
            "service": {"constant": SIMULATED_SECONDS},
            "deadline": {"seconds": SIMULATED_SECONDS + allowed_seconds},
        },
        "platform": {"poll_seconds": 0.0, "collection": {"constant": 0.0}},
        "control": {
            "interval_seconds": seconds / 10,
            "initial_parallelism": workers,
            "min_parallelism": workers,
            "max_parallelism": workers,
            "drain_seconds": 10.0,
        },
    }
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        file = Path(folder) / "scenario.json"
        file.write_text(json.dumps(scenario))
        policy = f"static:parallelism={workers}"
        command = [str(farm), "simulate", "--scenario", str(file), "--policy", policy, "--json"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        sys.exit(f"farm simulate: {ended.stderr.strip()}")
    return 1.0 - float(json.loads(ended.stdout)["qos_ratio"])
