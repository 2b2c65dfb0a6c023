"""`farm/Farm-v0` keeps Gymnasium's rules, and what its options promise."""

import itertools
import json

import farm_gym
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

OBSERVATIONS = ["paper", "farm", ["workers", "task_queue", "offered_load"]]
REWARDS = ["paper", "quality-and-cost", "missed-tasks"]


def make(**options):
    return gym.make("farm_gym:farm/Farm-v0", **options)


def run(env, seed, actions=None):
    """Return all that an episode told."""
    told = [env.reset(seed=seed)]
    actions = itertools.cycle([2, 1, 0] if actions is None else actions)
    while True:
        told.append(env.step(next(actions)))
        if told[-1][2] or told[-1][3]:
            return told


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("observation", OBSERVATIONS, ids=["paper", "farm", "own"])
@pytest.mark.parametrize("actions", ["step", "free"])
def test_the_checker_has_nothing_to_say(actions, observation, reward):
    env = make(actions=actions, observation=observation, reward=reward)
    check_env(env.unwrapped)


@pytest.mark.parametrize("scenario", farm_gym.SCENARIOS)
def test_every_scenario_passes_the_checker(scenario):
    check_env(make(scenario=scenario, max_steps=50, observation="farm").unwrapped)


def test_the_paper_is_the_default():
    env = make()
    assert env.observation_space.shape == (9,)
    assert env.action_space.n == 3
    observation, info = env.reset(seed=5)
    assert observation.dtype == np.float32
    assert observation.tolist() == [3, 0, 0, 0, 12, 1.5, 0, 0, 1]
    assert info["parallelism"] == 12
    assert "qos_ratio" not in info
    told = run(env, 5)
    outcome = told[-1][4]["outcome"]
    assert outcome["submitted"] == 1140
    assert outcome["steps"] == len(told) - 1 <= 30


def test_free_actions_set_the_parallelism():
    env = make(actions="free")
    env.reset(seed=1)
    *_, info = env.step(env.action_space.n - 1)
    assert info["parallelism"] == 32
    *_, info = env.step(0)
    assert info["parallelism"] == 1


def test_equal_seeds_give_equal_episodes():
    first, second, other = (run(make(), seed) for seed in (3, 3, 4))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_equal(a, b)
    assert first[-1][4]["outcome"] != other[-1][4]["outcome"]


def test_the_episodes_after_a_seeded_reset_are_reproducible_and_differ():
    seeds = []
    for _ in range(2):
        env = make()
        env.reset(seed=8)
        seeds.append([env.reset()[1]["seed"] for _ in range(5)])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 5
    assert not set(seeds[0]) & set(farm_gym.EVALUATION_SEEDS)


def test_a_simulator_seed_replays_an_episode():
    env = make()
    _, info = env.reset(options={"seed": 42})
    assert info["seed"] == 42
    first = [env.step(1)[0].tolist() for _ in range(10)]
    env.reset(seed=77, options={"seed": 42})
    assert [env.step(1)[0].tolist() for _ in range(10)] == first


def test_a_stream_seed_replays_the_tasks_alone():
    env = make(scenario="poisson")
    submitted = []
    for seed in (1, 2):
        env.reset(seed=seed, options={"stream_seed": 42})
        submitted.append([env.step(2)[4]["arrival_rate_per_second"] for _ in range(60)])
    assert submitted[0] == submitted[1]
    assert any(rate > 0 for rate in submitted[0])
    with pytest.raises(ValueError, match=r"unknown reset options \['sead'\]"):
        env.reset(options={"sead": 1})


def test_observations_are_copies():
    env = make()
    first, _ = env.reset(seed=1)
    kept = first.copy()
    second = env.step(2)[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_missed_tasks_are_priced():
    told = {}
    for price in (0.0, 10.0):
        episode = run(make(reward="missed-tasks", price=price), 6, actions=[0])
        told[price] = sum(step[1] for step in episode[1:])
    outcome = episode[-1][4]["outcome"]
    missed = outcome["submitted"] - outcome["met"]
    assert missed > 100
    assert told[0.0] == pytest.approx(-outcome["worker_seconds"] / 8)
    assert told[0.0] - told[10.0] == pytest.approx(10 * missed)


def test_max_steps_truncate_and_collecting_everything_terminates():
    assert run(make(max_steps=7), 1)[-1][2:4] == (False, True)
    last = run(make(scenario="poisson", platform={"slots_max": 4}), 1, actions=[2])[-1]
    assert last[2:4] == (True, False)
    assert last[4]["outcome"]["unfinished"] == 0


def test_randomisation_makes_episodes_differ():
    seed = {"options": {"seed": 9}}
    plain, wild = make(), make(randomisation={"service": [3.0, 3.0]})
    plain.reset(**seed)
    wild.reset(**seed)
    for _ in range(8):
        slow, quick = wild.step(1), plain.step(1)
    assert slow[4]["backlog_tasks"] > quick[4]["backlog_tasks"]


def test_a_scenario_may_be_a_file_or_a_dictionary(tmp_path):
    farm = farm_gym.scenario("paper")
    farm["name"] = "mine"
    farm["control"]["initial_parallelism"] = 20
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(farm), encoding="utf-8")
    for scenario in (farm, path, str(path)):
        assert make(scenario=scenario).reset(seed=1)[1]["parallelism"] == 20
    control = {"initial_parallelism": 4, "max_parallelism": 6}
    env = make(scenario=farm, control=control, actions="free")
    assert env.reset(seed=1)[1]["parallelism"] == 4
    assert env.action_space.n == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "papre"}, "'papre'|\"papre\".*known are: paper"),
        ({"scenario": {"name": "x"}}, "has no workload"),
        ({"actions": "both"}, "actions: unknown variant `both`"),
        ({"observation": ["wrokers"]}, "observation: unknown variant `wrokers`"),
        ({"observation": "mine"}, "'paper', 'farm' or a list of names"),
        ({"reward": "speed"}, "reward 'speed'"),
        ({"price": 2.0}, "price 2.0 belongs to the reward 'missed-tasks'"),
        ({"platform": {"polls": 1}}, "unknown field `polls`"),
        ({"control": {"initial_parallelism": 99}}, "initial_parallelism 99 <= max_parallelism 32"),
        ({"randomisation": {"rate": [2.0, 1.0]}}, "randomisation.rate: 2 to 1 is no range"),
        ({"render_mode": "svg"}, "render_mode 'svg'"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        farm_gym.FarmEnv(**options)


def test_an_unknown_action_is_refused():
    env = make(disable_env_checker=True).unwrapped
    env.reset(seed=1)
    with pytest.raises(ValueError, match="action 3 is not one of 0 to 2"):
        env.step(3)
