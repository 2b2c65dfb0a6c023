"""A farm that is scaled at random, and what that looks like."""

import gymnasium as gym

env = gym.make("farm_gym:farm/Farm-v0", render_mode="ansi")
env.reset(seed=1)
env.action_space.seed(1)
ended = False
while not ended:
    _, _, terminated, truncated, info = env.step(env.action_space.sample())
    ended = terminated or truncated
print(env.render())
print(info["outcome"])
