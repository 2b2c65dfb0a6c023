"""How many control steps a second the environments make, on one core.

Compare with the simulator alone: `cargo run --release -p farm-sim --example steps_per_second`,
line "random -1, 0 or +1".
"""

import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np

ID = "farm_gym:farm/Farm-v0"
SECONDS = 3.0


def measure(name: str, steps_each: int, step: Callable[[], object]) -> None:
    """Print how often `step`, which makes `steps_each` steps, can be called a second."""
    steps, began = 0, time.process_time()
    while (elapsed := time.process_time() - began) < SECONDS:
        step()
        steps += steps_each
    print(f"{name:32} {steps / elapsed:9,.0f} steps/s")


def single() -> Callable[[], object]:
    """Return a step of one environment as gym.make wraps it."""
    env = gym.make(ID)
    env.reset(seed=1)
    random = np.random.default_rng(1)
    actions = iter(lambda: int(random.integers(3)), -1)

    def step() -> None:
        _, _, terminated, truncated, _ = env.step(next(actions))
        if terminated or truncated:
            env.reset()

    return step


def vector(count: int, mode: str) -> Callable[[], object]:
    """Return a step of `count` environments at once."""
    env = gym.make_vec(ID, num_envs=count, vectorization_mode=mode)
    env.reset(seed=1)
    random = np.random.default_rng(1)
    return lambda: env.step(random.integers(3, size=count))


if __name__ == "__main__":
    measure("one environment", 1, single())
    measure("64, SyncVectorEnv", 64, vector(64, "sync"))
    measure("64, native", 64, vector(64, "vector_entry_point"))
