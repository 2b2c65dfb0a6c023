"""A rule of three lines against the autoscaler's own policies, on the same hundred episodes."""

from typing import Any

import farm_gym
import numpy as np
from numpy.typing import NDArray

FEWER, SAME, MORE = range(3)
QUEUE, WORKERS = (farm_gym.PAPER_SENSES.index(name) for name in ("task_queue", "workers"))


def rule(observation: NDArray[np.float32]) -> int:
    """Add a worker while tasks wait, and take one back while more than fourteen have none."""
    if observation[QUEUE] > 0:
        return MORE
    return FEWER if observation[WORKERS] > 14 else SAME  # noqa: PLR2004


def main() -> None:
    """Print one line a policy."""
    policies: dict[str, Any] = {
        "the rule above": rule,
        "static 16": farm_gym.load_policy("static", parallelism=16),
        "reactive-average": "reactive-average",
        "reactive-maximum": "reactive-maximum",
        "predictive": "predictive",
    }
    for name, policy in policies.items():
        print(f"{name:18} {farm_gym.evaluate(policy)}")


if __name__ == "__main__":
    main()
