"""DQN of stable-baselines3, as an ONNX file for the autoscaler. Needs `farm-gym[sb3]`."""

import sys
from typing import Any

import farm_gym
from farm_gym.sb3 import FarmVecEnv, export_onnx
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecNormalize

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
OPTIONS: dict[str, Any] = {"observation": "farm", "reward": "missed-tasks", "price": 5.0}

farms = FarmVecEnv(16, **OPTIONS)
# Its statistics become part of the file.
env = VecNormalize(farms, gamma=0.95)
model = DQN(
    "MlpPolicy",
    env,
    gamma=0.95,
    learning_rate=5e-4,
    train_freq=1,
    gradient_steps=4,
    target_update_interval=500,
    learning_starts=2_000,
    exploration_fraction=0.4,
    verbose=1,
    seed=1,
)
model.learn(STEPS, log_interval=200)
policy = export_onnx(model, farms, "dqn_sb3.onnx", command=" ".join(sys.argv))
print("in the file", farm_gym.evaluate(policy))
