"""PPO of stable-baselines3 with free actions, as an ONNX file. Needs `farm-gym[sb3]`."""

import sys
from typing import Any

import farm_gym
from farm_gym.sb3 import FarmVecEnv, export_onnx
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
OPTIONS: dict[str, Any] = {
    "actions": "free",
    "observation": "farm",
    "reward": "missed-tasks",
    "price": 5.0,
}

farms = FarmVecEnv(64, **OPTIONS)
# Its statistics become part of the file.
env = VecNormalize(farms)
model = PPO("MlpPolicy", env, n_steps=64, batch_size=256, gamma=0.97, verbose=1, seed=1)
model.learn(STEPS)
policy = export_onnx(model, farms, "ppo_sb3.onnx", command=" ".join(sys.argv))
print("in the file", farm_gym.evaluate(policy))
