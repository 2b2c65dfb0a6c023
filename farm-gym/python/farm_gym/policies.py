"""Policies: loading, training and comparing them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from farm_gym import _core
from farm_gym.env import FarmEnv
from farm_gym.seeds import EVALUATION_SEEDS
from farm_gym.settings import Actions, Observation, Reward, Scenario, reward_json, simulated
from farm_gym.settings import contract as contract_of

Chooser = Callable[[NDArray[np.float32]], Any]
"""From an observation to an action; stable-baselines3's `(action, state)` will do as well."""

DEFAULT_EPISODES = 100


@dataclass(frozen=True)
class Point:
    """One point of a learning curve."""

    steps: int
    seconds: float
    qos_ratio: float
    parallelism: float


class Policy:
    """A policy as the autoscaler runs it: a rule, or a trained one.

    A trained policy is called with an observation of its own contract and returns an action. A
    rule sees more than an array tells; it can be evaluated.
    """

    def __init__(self, core: _core.Policy) -> None:
        """Wrap a policy; see `load_policy`."""
        self._core = core

    @property
    def name(self) -> str:
        """Return its name in annotations."""
        return self._core.name

    @property
    def contract(self) -> dict[str, Any] | None:
        """Return what it was trained on; None for a rule."""
        text = self._core.contract
        return None if text is None else dict(json.loads(text))

    def __call__(self, observation: NDArray[np.float32]) -> int:
        """Return the action of a trained policy."""
        return self._core.action(np.ascontiguousarray(observation, dtype=np.float32))

    def options(self) -> dict[str, Any]:
        """Return the environment's options with which a trained policy sees what it knows."""
        contract = self.contract
        if contract is None:
            raise ValueError(f"{self.name} is a rule: it needs no options, evaluate() runs it")
        steps = contract["actions"] == {"steps": [-1, 0, 1]}
        return {"observation": contract["features"], "actions": "step" if steps else "free"}


@dataclass(frozen=True)
class Evaluation:
    """What a policy came to, episode by episode."""

    outcomes: tuple[Mapping[str, float], ...]

    def mean(self, name: str) -> float:
        """Return the mean of one number of the outcomes."""
        return float(np.mean([outcome[name] for outcome in self.outcomes]))

    def interval(self, name: str) -> float:
        """Return half the width of the 95 % interval of that mean."""
        values = [outcome[name] for outcome in self.outcomes]
        if len(values) < 2:  # noqa: PLR2004
            return float("inf")
        return float(1.96 * np.std(values, ddof=1) / np.sqrt(len(values)))

    def _estimate(self, name: str, factor: float = 1) -> str:
        return f"{factor * self.mean(name):.2f} ± {factor * self.interval(name):.2f}"

    def __str__(self) -> str:
        """Say the most important of it."""
        return (
            f"{self._estimate('qos_ratio', 100)} % in time, "
            f"{self._estimate('parallelism_mean')} workers, "
            f"{self.mean('scaling_actions'):.1f} scaling actions, {len(self.outcomes)} episodes"
        )


def load_policy(name: str | os.PathLike[str], **parameters: object) -> Policy:
    """Load a policy: a rule or a built-in one by its name, a trained one by its file's path.

    Parameters are those of the annotations, such as `target=2` or `step="one"`.
    """
    texts = {key: str(value) for key, value in parameters.items()}
    text = os.fspath(name)
    if "/" in text or text.endswith((".json", ".onnx")) or isinstance(name, Path):
        return Policy(_core.Policy.trained(Path(text).read_bytes(), texts))
    return Policy(_core.Policy.named(text, texts))


def evaluate(
    policy: Policy | str | os.PathLike[str] | Chooser,
    scenario: Scenario = "paper",
    seeds: Sequence[int] = EVALUATION_SEEDS[:DEFAULT_EPISODES],
    **options: Any,  # noqa: ANN401
) -> Evaluation:
    """Run a policy on seeds that no environment trains on.

    A `Policy` runs in Rust, as in the autoscaler. Anything else is called with the observations
    of `farm/Farm-v0` with these options; something with a method `predict`, such as a model of
    stable-baselines3, is asked deterministically.
    """
    if isinstance(policy, (str, os.PathLike)):
        policy = load_policy(policy)
    if isinstance(policy, Policy):
        settings = simulated(scenario=scenario, **options)
        return Evaluation(tuple(_native(policy, settings.scenario, seeds)))
    choose = _chooser(policy)
    env = FarmEnv(scenario=scenario, **options)
    return Evaluation(tuple(_episode(env, choose, seed) for seed in seeds))


def _native(policy: Policy, scenario: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    if isinstance(seeds, range) and seeds.step == 1:
        return policy._core.evaluate(scenario, seeds.start, seeds.stop)
    single = (policy._core.evaluate(scenario, seed, seed + 1) for seed in seeds)
    return [outcome for outcomes in single for outcome in outcomes]


def _chooser(policy: Any) -> Chooser:  # noqa: ANN401
    if hasattr(policy, "predict"):
        return lambda observation: policy.predict(observation, deterministic=True)[0]
    return policy  # type: ignore[no-any-return]


def _episode(env: FarmEnv, choose: Chooser, seed: int) -> Mapping[str, float]:
    observation, _ = env.reset(options={"seed": seed})
    while True:
        observation, _, terminated, truncated, info = env.step(choose(observation))
        if terminated or truncated:
            outcome: dict[str, float] = info["outcome"]
            return outcome


def train(  # noqa: PLR0913
    algorithm: Literal["sarsa", "dqn"],
    *,
    scenario: Scenario = "paper",
    actions: Actions = "step",
    observation: Observation | None = None,
    reward: Reward | None = None,
    price: float | None = None,
    seed: int = 1,
    out: str | os.PathLike[str],
    progress: Callable[[Point], object] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401
) -> Policy:
    """Train a policy in Rust, write its file to `out`, and return it.

    Without `observation` or `reward` they are the trainer's own, which are good ones. `settings`
    replace some of the trainer's; `progress` is called with every point of the learning curve.
    Equal arguments give equal files.
    """
    farm = simulated(scenario=scenario, **options)
    control = json.loads(farm.contract)
    contract = None
    if observation is not None:
        contract = contract_of(
            actions,
            observation,
            interval_seconds=control["interval_seconds"],
            min_parallelism=control["min_parallelism"],
            max_parallelism=control["max_parallelism"],
        )
    file, _, _ = _core.train(
        algorithm,
        farm.scenario,
        actions,
        contract,
        None if reward is None else reward_json(reward, price),
        json.dumps(settings or {}),
        seed,
        f"farm_gym.train({algorithm!r}, seed={seed})",
        lambda point: (progress or _print)(_point(point)),
    )
    Path(out).write_bytes(file)
    return Policy(_core.Policy.trained(file, {}))


def _point(text: str) -> Point:
    point = json.loads(text)
    score = point["score"]
    return Point(point["steps"], point["seconds"], score["qos_ratio"], score["parallelism"])


def _print(point: Point) -> None:
    print(
        f"{point.steps:9d} steps {point.seconds:6.1f} s  {100 * point.qos_ratio:6.2f} % in time  "
        f"{point.parallelism:5.2f} workers",
        file=sys.stderr,
    )
