"""Gymnasium environments of farms that are scaled.

>>> import gymnasium as gym
>>> env = gym.make("farm_gym:farm/Farm-v0")
>>> observation, info = env.reset(seed=1)
>>> info["parallelism"]
12
"""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym

from farm_gym import _core
from farm_gym.autoscaler import LiveFarmError
from farm_gym.env import FarmEnv
from farm_gym.live import LiveFarmEnv
from farm_gym.policies import Evaluation, Point, Policy, evaluate, load_policy, train
from farm_gym.seeds import EVALUATION_SEEDS
from farm_gym.settings import FARM_SENSES, PAPER_SENSES
from farm_gym.vector import FarmVectorEnv

SCENARIOS = tuple(_core.scenario_names())
"""Names of the scenarios; docs/simulation.md describes them."""


def scenario(name: str) -> dict[str, Any]:
    """Return a named scenario, to change it and give it to the environment."""
    content: dict[str, Any] = json.loads(_core.scenario(name))
    return content


gym.register(
    id="farm/Farm-v0",
    entry_point="farm_gym.env:FarmEnv",
    vector_entry_point="farm_gym.vector:FarmVectorEnv",
)
gym.register(
    id="farm/LiveFarm-v0",
    entry_point="farm_gym.live:LiveFarmEnv",
    nondeterministic=True,
)

__all__ = [
    "EVALUATION_SEEDS",
    "FARM_SENSES",
    "PAPER_SENSES",
    "SCENARIOS",
    "Evaluation",
    "FarmEnv",
    "FarmVectorEnv",
    "LiveFarmEnv",
    "LiveFarmError",
    "Point",
    "Policy",
    "evaluate",
    "load_policy",
    "scenario",
    "train",
]
