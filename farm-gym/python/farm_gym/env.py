"""`farm/Farm-v0`: one simulated farm."""

from __future__ import annotations

from typing import Any, SupportsInt

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from farm_gym import _core, render
from farm_gym.seeds import draw_seed
from farm_gym.settings import simulated


class FarmEnv(gym.Env[NDArray[np.float32], SupportsInt]):
    """A simulated farm of workers that is scaled, one decision a step.

    Takes the options of `farm_gym.settings.simulated`; docs/gymnasium.md explains them.

    `reset(options=...)` knows `seed`, the simulator's own seed, which replays an episode exactly,
    and `stream_seed`, which takes the tasks of that seed and leaves all other chance as drawn.
    """

    metadata: dict[str, Any] = {"render_modes": render.modes(), "render_fps": 4}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **options: Any) -> None:  # noqa: ANN401
        """Make a farm; its first episode begins with `reset`."""
        self.settings = simulated(**options)
        self.render_mode = render.check_mode(render_mode)
        self.observation_space = self.settings.observation_space()
        self.action_space = self.settings.action_space()
        self._simulation = _core.Simulation(
            self.settings.scenario, self.settings.contract, self.settings.reward
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        drawn = draw_seed(self.np_random)
        known = dict(options or {})
        simulator_seed = known.pop("seed", drawn)
        stream_seed = known.pop("stream_seed", None)
        if known:
            raise ValueError(f"unknown reset options {sorted(known)}: use seed, stream_seed")
        observation = self._simulation.reset(simulator_seed, stream_seed)
        return observation, self._simulation.info()

    def step(
        self, action: SupportsInt
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take an action, and run until the next decision."""
        observation, reward, terminated, truncated = self._simulation.step(int(action))
        return observation, reward, terminated, truncated, self._simulation.info()

    def render(self) -> Any:  # noqa: ANN401
        """Show the episode so far: text, or a picture as an array of pixels."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: give one to gym.make")
            return None
        return render.draw(self.render_mode, self._simulation.trace())

    def trace(self) -> dict[str, NDArray[np.float64]]:
        """Return the episode so far by column, one value a step."""
        return self._simulation.trace()
