"""Many simulated farms, stepped by one call without Python in between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from farm_gym import _core
from farm_gym.seeds import draw_seed
from farm_gym.settings import simulated


class FarmVectorEnv(VectorEnv[NDArray[np.float32], ArrayLike, NDArray[Any]]):
    """Like `SyncVectorEnv` of `farm/Farm-v0`, number for number, but faster.

    `autoreset_mode` is NEXT_STEP or SAME_STEP; `max_episode_steps` cuts episodes off as
    Gymnasium's TimeLimit does. The other options are those of the single environment.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Make `num_envs` farms; their first episodes begin with `reset`."""
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.DISABLED:
            raise ValueError("autoreset_mode: use NEXT_STEP or SAME_STEP")
        if render_mode is not None:
            raise ValueError("many farms make no picture: render one farm/Farm-v0")
        self.settings = simulated(**options)
        self.num_envs = num_envs
        self.metadata = {"render_modes": [], "autoreset_mode": mode}
        self.render_mode = None
        self.single_observation_space = self.settings.observation_space()
        self.single_action_space = self.settings.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._batch = _core.Batch(
            self.settings.scenario,
            self.settings.contract,
            self.settings.reward,
            num_envs,
            mode is AutoresetMode.SAME_STEP,
            max_episode_steps,
        )
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._next_seeds = np.zeros(num_envs, dtype=np.uint64)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every environment.

        `options["seeds"]`, one for each environment, replays episodes of the simulator exactly.
        """
        known = dict(options or {})
        replayed = known.pop("seeds", None)
        if known:
            raise ValueError(f"unknown reset options {sorted(known)}: use seeds")
        if seed is None:
            fresh: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, int):
            fresh = [seed + index for index in range(self.num_envs)]
        else:
            fresh = seed
        if len(fresh) != self.num_envs:
            raise ValueError(f"{len(fresh)} seeds for {self.num_envs} environments")
        for index, number in enumerate(fresh):
            if number is not None:
                self._generators[index], _ = seeding.np_random(number)
                self._next_seeds[index] = 0
        for index, drawn in enumerate(self._next_seeds):
            if drawn == 0:
                self._next_seeds[index] = draw_seed(self._generators[index])
        seeds = self._next_seeds.tolist() if replayed is None else list(replayed)
        observations, infos = self._batch.reset(seeds)
        self._draw(range(self.num_envs))
        return observations, infos

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        """Take an action in every environment."""
        observations, rewards, terminated, truncated, infos, begun = self._batch.step(
            np.ascontiguousarray(actions, dtype=np.int64), self._next_seeds
        )
        self._draw(begun)
        if "final_obs" in infos:
            infos["final_obs"] = _objects(infos["final_obs"])
        return observations, rewards, terminated, truncated, infos

    def _draw(self, indices: Iterable[int]) -> None:
        """Make the seeds ready with which these environments begin their next episodes."""
        for index in indices:
            self._next_seeds[index] = draw_seed(self._generators[index])


def _objects(values: list[Any]) -> NDArray[Any]:
    """Return an array of objects: NumPy would make one of numbers from equal lengths."""
    array = np.full(len(values), None, dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array
