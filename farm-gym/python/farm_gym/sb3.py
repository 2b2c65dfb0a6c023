"""For stable-baselines3: its vector environment, and its models as the autoscaler reads them.

Needs the extra `sb3`: `pip install 'farm-gym[sb3]'`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from farm_gym import _core
from farm_gym.env import FarmEnv
from farm_gym.live import LiveFarmEnv
from farm_gym.policies import Policy
from farm_gym.vector import FarmVectorEnv

try:
    import onnx
    import torch
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecEnv
except ImportError as error:
    message = f"{error.name} is not installed: pip install 'farm-gym[sb3]'"
    raise ImportError(message) from error

GOLDEN_ROWS = 4
OPSET = 18


class FarmVecEnv(VecEnv):  # type: ignore[misc]
    """The native vector environment as stable-baselines3 wants one."""

    def __init__(self, num_envs: int = 8, **options: Any) -> None:  # noqa: ANN401
        """Make `num_envs` farms, with the options of `farm/Farm-v0`."""
        self.farms = FarmVectorEnv(num_envs, autoreset_mode=AutoresetMode.SAME_STEP, **options)
        self.settings = self.farms.settings
        self._actions: NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        self.render_mode = None
        spaces = (self.farms.single_observation_space, self.farms.single_action_space)
        super().__init__(num_envs, *spaces)

    def reset(self) -> NDArray[np.float32]:
        """Begin an episode in every farm."""
        seed = self._seeds[0]
        observations, self.reset_infos = self._begin(seed)
        self._reset_seeds()
        self._reset_options()
        return observations

    def _begin(self, seed: int | None) -> tuple[NDArray[np.float32], list[dict[str, Any]]]:
        observations, _ = self.farms.reset(seed=seed)
        return observations, [{} for _ in range(self.num_envs)]

    def step_async(self, actions: NDArray[np.int64]) -> None:
        """Take note of the actions."""
        self._actions = actions

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Take the actions."""
        observations, rewards, terminated, truncated, told = self.farms.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(terminated | truncated):
            infos[index] = {
                "terminal_observation": told["final_obs"][index],
                "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
            }
        return observations, rewards.astype(np.float32), terminated | truncated, infos

    def close(self) -> None:
        """Leave the farms."""
        self.farms.close()

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:  # noqa: ANN401, ARG002
        """Say that nothing is wrapped: these are no Python environments."""
        return [False] * len(list(self._get_indices(indices)))

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:  # noqa: ANN401
        """Return the same of every farm."""
        return [getattr(self.farms, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:  # noqa: ANN401, ARG002
        """Refuse: farms are set by their options."""
        raise AttributeError(f"{attr_name} cannot be set: give it as an option to FarmVecEnv")

    def env_method(
        self,
        method_name: str,
        *arguments: Any,  # noqa: ANN401, ARG002
        indices: Any = None,  # noqa: ANN401, ARG002
        **options: Any,  # noqa: ANN401, ARG002
    ) -> list[Any]:
        """Refuse: these are no Python environments."""
        raise AttributeError(f"the farms have no method {method_name}")


class _Values(torch.nn.Module):  # type: ignore[misc]
    """From a raw observation to one value an action, whatever the algorithm calls them."""

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__()
        self.policy = model.policy
        self.is_q_network = hasattr(model.policy, "q_net")
        normaliser = model.get_vec_normalize_env()
        self.scales = normaliser is not None and normaliser.norm_obs
        if self.scales:
            mean, variance = normaliser.obs_rms.mean, normaliser.obs_rms.var
            deviation = np.sqrt(variance + normaliser.epsilon)
            self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
            self.register_buffer("deviation", torch.as_tensor(deviation, dtype=torch.float32))
            self.limit = float(normaliser.clip_obs)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        if self.scales:
            observation = (observation - self.mean) / self.deviation
            observation = observation.clamp(-self.limit, self.limit)
        if self.is_q_network:
            return self.policy.q_net(observation)
        features = self.policy.extract_features(observation, self.policy.pi_features_extractor)
        hidden = self.policy.mlp_extractor.forward_actor(features)
        return self.policy.action_net(hidden)


def export_onnx(
    model: BaseAlgorithm,
    env: FarmEnv | FarmVectorEnv | FarmVecEnv | LiveFarmEnv | Any,  # noqa: ANN401
    path: str | os.PathLike[str],
    *,
    command: str = "",
) -> Policy:
    """Write a model as the autoscaler's policy `onnx` reads it, and return what it reads.

    Works for DQN, and for PPO and A2C with an MLP policy. Statistics of `VecNormalize` become
    part of the graph. What the model saw and did is taken from `env`.
    """
    settings = getattr(env, "unwrapped", env).settings
    network = _Values(model).to("cpu").eval()
    samples = _samples(settings.observation_space())
    torch.onnx.export(
        network,
        (torch.from_numpy(samples),),
        os.fspath(path),
        input_names=["observation"],
        output_names=["values"],
        dynamic_shapes={"observation": {0: torch.export.Dim("batch")}},
        opset_version=OPSET,
        external_data=False,
        dynamo=True,
        verbose=False,
    )
    with torch.no_grad():
        values = network(torch.from_numpy(samples)).numpy()
    contract = json.loads(settings.contract)
    contract["training"] = {
        "algorithm": type(model).__name__.lower(),
        "command": command,
        "scenario": json.loads(settings.scenario).get("name", ""),
        "seed": int(model.seed or 0),
        "steps": int(model.num_timesteps),
    }
    _describe(path, contract, samples.tolist(), values.tolist())
    return Policy(_core.Policy.trained(Path(path).read_bytes(), {}))


def _samples(space: Any) -> NDArray[np.float32]:  # noqa: ANN401
    """Return observations that are the same for every export."""
    generator = np.random.default_rng(1)
    drawn = generator.uniform(space.low, space.high, (GOLDEN_ROWS, *space.shape))
    return drawn.astype(np.float32)


def _describe(
    path: str | os.PathLike[str],
    contract: dict[str, Any],
    observation: Sequence[Any],
    values: Sequence[Any],
) -> None:
    file = onnx.load(os.fspath(path))
    golden = {"observation": observation, "values": values}
    described = {"farm_contract": json.dumps(contract), "farm_golden": json.dumps(golden)}
    onnx.helper.set_model_props(file, described)
    onnx.save(file, os.fspath(path))
