"""What the environments' options mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from farm_gym import _core

Actions = Literal["step", "free"]
"""`"step"`: one worker less, as many, one more. `"free"`: any parallelism, smallest first."""

Reward = Literal["paper", "quality-and-cost", "missed-tasks"]
"""What a step is worth; see docs/gymnasium.md."""

Observation = str | Sequence[str | Mapping[str, Any]]
"""`"paper"`, `"farm"`, or a list of names and of features: `{"sense": …, "low": …, "high": …}`."""

Scenario = str | Path | Mapping[str, Any]
"""A scenario's name, the path of its JSON, or the JSON's content."""

FARM_SENSES = (
    "task_queue",
    "in_flight",
    "workers",
    "available_workers",
    "starting_workers",
    "last_change",
    "completion_seconds_mean",
    "completion_seconds_max",
    "arrival_rate",
    "arrival_rate1",
    "arrival_rate2",
    "arrival_rate3",
    "offered_load",
    "qos",
)
"""The observation `"farm"`: what a farm can tell that knows nothing of its workload's script."""

PAPER_SENSES = tuple(_core.sense_names())
"""The observation `"paper"`: the nine numbers of arXiv 2602.06555, in its order."""

DEFAULT_PRICE = 5.0
"""Workers for one interval that one missed task is worth, unless `price` says otherwise."""


@dataclass(frozen=True)
class Settings:
    """A farm, what is seen of it, what can be done and what that is worth: each as JSON."""

    scenario: str
    contract: str
    reward: str

    def observation_space(self) -> spaces.Space[NDArray[np.float32]]:
        """Return the bounds of the contract's features."""
        features = json.loads(self.contract)["features"]
        low = np.array([feature["low"] for feature in features], dtype=np.float32)
        high = np.array([feature["high"] for feature in features], dtype=np.float32)
        box: Any = spaces.Box(low, high, dtype=np.float32)
        space: spaces.Space[NDArray[np.float32]] = box
        return space

    def action_space(self) -> spaces.Discrete:
        """Return one action for each step or level of the contract."""
        (choices,) = json.loads(self.contract)["actions"].values()
        return spaces.Discrete(len(choices))

    def senses(self) -> tuple[str, ...]:
        """Return the names of the numbers of an observation."""
        return tuple(feature["sense"] for feature in json.loads(self.contract)["features"])


def simulated(  # noqa: PLR0913
    *,
    scenario: Scenario = "paper",
    actions: Actions = "step",
    observation: Observation = "paper",
    reward: Reward = "paper",
    price: float | None = None,
    randomisation: Mapping[str, Sequence[float]] | None = None,
    platform: Mapping[str, Any] | None = None,
    control: Mapping[str, Any] | None = None,
    max_steps: int | None = None,
) -> Settings:
    """Return the settings of a simulated farm.

    Args:
        scenario: its workload, its platform and its control loop.
        actions: "step" or "free".
        observation: "paper", "farm", or a list of names or features.
        reward: "paper", "quality-and-cost" or "missed-tasks".
        price: of a missed task, in workers for one interval, for "missed-tasks".
        randomisation: ranges of factors, drawn for every episode: rate, service, start_up.
        platform: what replaces parts of the scenario's platform.
        control: what replaces parts of the scenario's control loop.
        max_steps: most steps of an episode.

    """
    farm = read_scenario(scenario)
    farm["randomisation"] = {**farm.get("randomisation", {}), **(randomisation or {})}
    farm["platform"] = {**farm["platform"], **(platform or {})}
    farm["control"] = {**farm["control"], **(control or {})}
    if max_steps is not None:
        farm["control"]["max_steps"] = max_steps
    settings = {**DEFAULT_CONTROL, **farm["control"]}
    return Settings(
        scenario=json.dumps(farm),
        contract=contract(
            actions,
            observation,
            interval_seconds=settings["interval_seconds"],
            min_parallelism=settings["min_parallelism"],
            max_parallelism=settings["max_parallelism"],
        ),
        reward=reward_json(reward, price),
    )


def read_scenario(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario's content."""
    if isinstance(scenario, Mapping):
        farm = json.loads(json.dumps(scenario))
    elif isinstance(scenario, Path) or "/" in scenario or scenario.endswith(".json"):
        farm = json.loads(Path(scenario).read_text(encoding="utf-8"))
    else:
        farm = json.loads(_core.scenario(scenario))
    if not isinstance(farm, dict) or "workload" not in farm:
        raise ValueError(
            f"the scenario {scenario!r} has no workload: take farm_gym.scenario('paper') as a model"
        )
    farm.setdefault("name", "custom")
    farm.setdefault("platform", {})
    farm.setdefault("control", {})
    return farm


def contract(
    actions: Actions,
    observation: Observation,
    *,
    interval_seconds: float,
    min_parallelism: int,
    max_parallelism: int,
) -> str:
    """Return what a policy sees and may do, as JSON."""
    return _core.contract(
        actions, features(observation), interval_seconds, min_parallelism, max_parallelism
    )


def features(observation: Observation) -> str | None:
    """Return the features that an observation option stands for, as JSON; None for the paper's."""
    if observation == "paper":
        return None
    if observation == "farm":
        return json.dumps(FARM_SENSES)
    if isinstance(observation, str):
        raise ValueError(f"observation {observation!r}: use 'paper', 'farm' or a list of names")
    return json.dumps(list(observation))


def reward_json(reward: Reward, price: float | None) -> str:
    """Return a reward as the simulator reads it."""
    if price is not None and reward != "missed-tasks":
        raise ValueError(f"price {price} belongs to the reward 'missed-tasks', not to {reward!r}")
    if reward == "missed-tasks":
        return json.dumps({"missed_tasks": {"price": DEFAULT_PRICE if price is None else price}})
    if reward in ("paper", "quality-and-cost"):
        return json.dumps(reward.replace("-", "_"))
    raise ValueError(f"reward {reward!r}: use 'paper', 'quality-and-cost' or 'missed-tasks'")


DEFAULT_CONTROL: dict[str, Any] = json.loads(_core.scenario("paper"))["control"]
