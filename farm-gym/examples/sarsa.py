"""SARSA(λ) in NumPy, as small as it gets: one table, one trace."""

from collections import defaultdict

import farm_gym
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

EPISODES, ALPHA, GAMMA, LAMBDA, FAINT = 3000, 0.1, 0.97, 0.8, 0.01
EDGES = {"workers": range(2, 32), "task_queue": (1, 4, 10, 30), "qos": (0.95,)}
EDGES |= {"arrival_rate": (2, 4, 6, 8), "output_queue": (100, 220, 500, 560, 980)}
PLACES = [(farm_gym.PAPER_SENSES.index(name), edges) for name, edges in EDGES.items()]
ACTIONS = 3

State = tuple[int, ...]
Table = defaultdict[State, NDArray[np.float64]]


def state_of(observation: NDArray[np.float32]) -> State:
    """Divide every number into a few bins."""
    return tuple(int(np.searchsorted(edges, observation[i], "right")) for i, edges in PLACES)


def choose(table: Table, state: State, epsilon: float, random: np.random.Generator) -> int:
    """Explore with probability epsilon, otherwise take the best; of equal ones, one more worker."""
    if random.random() < epsilon:
        return int(random.integers(ACTIONS))
    return ACTIONS - 1 - int(np.argmax(table[state][::-1]))


def learn(seed: int = 1) -> Table:
    """Train, and return the table of values."""
    env = gym.make("farm_gym:farm/Farm-v0", reward="missed-tasks", price=5.0)
    random = np.random.default_rng(seed)
    table: Table = defaultdict(lambda: np.zeros(ACTIONS))
    for episode in range(EPISODES):
        epsilon = max(0.02, 0.5 * 0.998**episode)
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        state = state_of(observation)
        action, traces, ended = choose(table, state, epsilon, random), {}, False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(action)
            ended = terminated or truncated
            after = state_of(observation)
            follows = choose(table, after, epsilon, random)
            future = 0.0 if ended else GAMMA * table[after][follows]
            error = float(reward) + future - table[state][action]
            traces[state, action] = 1.0
            for (s, a), trace in traces.items():
                table[s][a] += ALPHA * error * trace
            traces = {key: GAMMA * LAMBDA * trace for key, trace in traces.items() if trace > FAINT}
            state, action = after, follows
    return table


if __name__ == "__main__":
    learned, unused = learn(), np.random.default_rng()
    print(farm_gym.evaluate(lambda observation: choose(learned, state_of(observation), 0, unused)))
