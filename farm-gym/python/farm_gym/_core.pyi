"""The native part. Scenarios, contracts and rewards are JSON."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAINING_SEEDS: tuple[int, int]
EVALUATION_SEEDS: tuple[int, int]

def scenario(name: str) -> str: ...
def scenario_names() -> list[str]: ...
def sense_names() -> list[str]: ...
def contract(
    actions: str,
    features: str | None,
    interval_seconds: float,
    min_parallelism: int,
    max_parallelism: int,
) -> str: ...

class Simulation:
    def __new__(cls, scenario: str, contract: str, reward: str) -> Simulation: ...
    def reset(self, seed: int, stream_seed: int | None = None) -> NDArray[np.float32]: ...
    def step(self, action: int) -> tuple[NDArray[np.float32], float, bool, bool]: ...
    def info(self) -> dict[str, Any]: ...
    def trace(self) -> dict[str, NDArray[np.float64]]: ...

class Batch:
    def __new__(
        cls,
        scenario: str,
        contract: str,
        reward: str,
        count: int,
        same_step: bool,
        time_limit: int | None = None,
    ) -> Batch: ...
    def reset(self, seeds: list[int]) -> tuple[NDArray[np.float32], dict[str, Any]]: ...
    def step(
        self, actions: NDArray[np.int64], seeds: NDArray[np.uint64]
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
        list[int],
    ]: ...

class Live:
    def __new__(cls, contract: str, reward: str, time_scale: float = 1.0) -> Live: ...
    def forget(self) -> None: ...
    def see(self, observation: str) -> tuple[NDArray[np.float32], float]: ...
    def order(self, action: int) -> int: ...
    def info(self) -> dict[str, Any]: ...

class Policy:
    @staticmethod
    def named(name: str, parameters: dict[str, str]) -> Policy: ...
    @staticmethod
    def trained(file: bytes, parameters: dict[str, str]) -> Policy: ...
    @property
    def name(self) -> str: ...
    @property
    def contract(self) -> str | None: ...
    def action(self, observation: NDArray[np.float32]) -> int: ...
    def evaluate(self, scenario: str, first: int, end: int) -> list[dict[str, Any]]: ...

def train(
    algorithm: str,
    scenario: str,
    actions: str,
    contract: str | None,
    reward: str | None,
    settings: str,
    seed: int,
    command: str,
    progress: Callable[[str], object],
) -> tuple[bytes, str, str]: ...
