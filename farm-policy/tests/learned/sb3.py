"""Makes sb3.onnx: a DQN of stable-baselines3, hardly trained, exported as docs/scaling.md describes.

Needs stable-baselines3, onnx and onnxscript: python sb3.py
"""

import json

import gymnasium
import numpy
import onnx
import stable_baselines3
import torch

CONTRACT = {
    "version": 1,
    "features": [
        {"sense": "task_queue", "low": 0, "high": 800},
        {"sense": "workers", "low": 1, "high": 32},
    ],
    "actions": {"steps": [-1, 0, 1]},
    "interval_seconds": 8,
    "min_parallelism": 1,
    "max_parallelism": 32,
    "training": {"algorithm": "dqn", "command": "python sb3.py", "scenario": "noise", "seed": 1, "steps": 200},
}


class Noise(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (2,), numpy.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(2, dtype=numpy.float32), {}

    def step(self, action):
        observation = self.np_random.random(2, dtype=numpy.float32)
        return observation, float(observation[0] * (action - 1)), False, False, {}


model = stable_baselines3.DQN("MlpPolicy", Noise(), seed=1, learning_starts=50, policy_kwargs={"net_arch": [8, 8]})
model.learn(200)


class Values(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = model.q_net
        low, high = (torch.tensor([float(f[k]) for f in CONTRACT["features"]]) for k in ("low", "high"))
        self.register_buffer("low", low)
        self.register_buffer("span", high - low)

    def forward(self, observation):
        return self.net((observation - self.low) / self.span)


values = Values().eval()
rows = values.low + values.span * torch.rand(8, len(values.low))
torch.onnx.export(values, (rows,), "sb3.onnx", dynamo=True, external_data=False,
                  input_names=["observation"], output_names=["values"],
                  dynamic_shapes=({0: torch.export.Dim("batch")},))
golden = {"observation": rows.tolist(), "values": values(rows).tolist()}
file = onnx.load("sb3.onnx")
for node in file.graph.node:
    del node.metadata_props[:]  # where in the sources it comes from
onnx.helper.set_model_props(file, {"farm_contract": json.dumps(CONTRACT), "farm_golden": json.dumps(golden)})
onnx.save(file, "sb3.onnx")
