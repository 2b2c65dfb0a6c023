"""`farm/LiveFarm-v0`: a farm that runs, in real seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, SupportsInt

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from farm_gym import _core, render
from farm_gym.autoscaler import DEFAULT_URL, Autoscaler, LiveFarmError
from farm_gym.settings import Actions, Observation, Reward, Settings, contract, reward_json

PATIENCE_INTERVALS = 5
SHORTEST_PATIENCE_SECONDS = 60.0

TRACE_COLUMNS = (
    "time_seconds",
    "parallelism",
    "backlog_tasks",
    "arrival_rate_per_second",
    "qos_ratio",
)


class LiveFarmEnv(gym.Env[NDArray[np.float32], SupportsInt]):
    """A running farm of `farm.policy: external`, scaled through its autoscaler.

    One step is one control interval of the farm. Observations, actions and rewards are those of
    `farm/Farm-v0`, from the same code. An episode ends after `max_steps`, or never; closing leaves
    the farm as it is, and three intervals later the autoscaler's fallback decides.

    Args:
        farm: the farm's name.
        url: where its autoscaler answers.
        user: the gateway's user.
        password_file: file with the gateway's password; docs/gymnasium.md says where it is looked
            for otherwise.
        actions: "step" or "free", within the farm's `farm.min` and `farm.max`.
        observation: "paper", "farm" or a list of names.
        reward: "paper", "quality-and-cost" or "missed-tasks".
        price: of a missed task, for "missed-tasks".
        time_scale: the farm's times per time of training; 0.1 for a farm that is ten times as fast.
        max_steps: steps of an episode.
        render_mode: "ansi" or "rgb_array".

    """

    metadata: dict[str, Any] = {"render_modes": render.modes(), "render_fps": 4}  # noqa: RUF012

    def __init__(  # noqa: PLR0913
        self,
        farm: str,
        *,
        url: str = DEFAULT_URL,
        user: str = "admin",
        password_file: str | Path | None = None,
        actions: Actions = "step",
        observation: Observation = "paper",
        reward: Reward = "quality-and-cost",
        price: float | None = None,
        time_scale: float = 1.0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Ask the autoscaler for the farm's bounds and interval."""
        self.render_mode = render.check_mode(render_mode)
        self.max_steps = max_steps
        self._autoscaler = Autoscaler(url, farm, user, password_file)
        shown = self._autoscaler.look()
        if shown["policy"] != "external":
            raise LiveFarmError(
                f"farm {farm} is scaled by the policy {shown['policy']}: "
                "set its annotation farm.policy to external to scale it from here"
            )
        bounds = shown["settings"]
        self.interval_seconds: float = bounds["interval_seconds"]
        self.settings = Settings(
            scenario="{}",
            contract=contract(
                actions,
                observation,
                interval_seconds=self.interval_seconds / time_scale,
                min_parallelism=max(1, bounds["min"]),
                max_parallelism=bounds["max"],
            ),
            reward=reward_json(reward, price),
        )
        self.observation_space = self.settings.observation_space()
        self.action_space = self.settings.action_space()
        self._live = _core.Live(self.settings.contract, self.settings.reward, time_scale)
        self._steps = 0
        self._began_seconds = 0.0
        self._trace: dict[str, list[float]] = {name: [] for name in TRACE_COLUMNS}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Take over the farm as it is, and wait for an observation."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"unknown reset options {sorted(options)}: a live farm knows none")
        self._live.forget()
        self._steps = 0
        for column in self._trace.values():
            column.clear()
        shown = self._autoscaler.look()
        if shown["observation"] is None:
            shown = self._after(shown["sequence"])
        low, high = shown["settings"]["min"], shown["settings"]["max"]
        present = min(max(shown["observation"]["parallelism"], low), high)
        shown = self._after(self._autoscaler.order(present))
        self._began_seconds = shown["observation"]["time_seconds"]
        observation, _ = self._live.see(json.dumps(shown["observation"]))
        return observation, self._info(shown)

    def step(
        self, action: SupportsInt
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Order what the action asks for, and wait for the next observation."""
        ordered = self._live.order(int(action))
        shown = self._after(self._autoscaler.order(ordered))
        observation, reward = self._live.see(json.dumps(shown["observation"]))
        self._steps += 1
        for name in TRACE_COLUMNS:
            value = shown["observation"][name]
            self._trace[name].append(float("nan") if value is None else value)
        truncated = self.max_steps is not None and self._steps >= self.max_steps
        return observation, reward, False, truncated, self._info(shown)

    def render(self) -> Any:  # noqa: ANN401
        """Show the episode so far: text, or a picture as an array of pixels."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: give one to gym.make")
            return None
        return render.draw(self.render_mode, self.trace())

    def trace(self) -> dict[str, NDArray[np.float64]]:
        """Return the episode so far by column, one value a step."""
        trace = {name: np.array(column, dtype=np.float64) for name, column in self._trace.items()}
        trace["time_seconds"] -= self._began_seconds
        return trace

    def _after(self, sequence: int) -> dict[str, Any]:
        patience = max(PATIENCE_INTERVALS * self.interval_seconds, SHORTEST_PATIENCE_SECONDS)
        return self._autoscaler.observation_after(sequence, patience)

    def _info(self, shown: dict[str, Any]) -> dict[str, Any]:
        return {**self._live.info(), "sequence": shown["sequence"]}
