"""Where simulator seeds come from."""

from __future__ import annotations

import numpy as np

from farm_gym import _core

EVALUATION_SEEDS = range(*_core.EVALUATION_SEEDS)
"""Seeds to report results on. The environments never draw one of them."""


def draw_seed(generator: np.random.Generator) -> int:
    """Draw a seed for an episode, from those that are for training."""
    return int(generator.integers(*_core.TRAINING_SEEDS))
