"""DQN of stable-baselines3, as an ONNX file for the autoscaler. Needs `farm-gym[sb3]`."""

import sys
from typing import Any

import farm_gym
from farm_gym.sb3 import FarmVecEnv, export_onnx
from stable_baselines3 import DQN

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
OPTIONS: dict[str, Any] = {"observation": "farm", "reward": "missed-tasks", "price": 5.0}

env = FarmVecEnv(16, **OPTIONS)
model = DQN("MlpPolicy", env, train_freq=4, learning_starts=5_000, verbose=1, seed=1)
model.learn(STEPS)
policy = export_onnx(model, env, "dqn_sb3.onnx", command=" ".join(sys.argv))
print("in Python  ", farm_gym.evaluate(model, **OPTIONS))
print("in the file", farm_gym.evaluate(policy))
