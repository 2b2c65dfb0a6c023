"""The native vector environment is SyncVectorEnv, number for number."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

ID = "farm_gym:farm/Farm-v0"
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP]


def native(count, mode, **options):
    return gym.make_vec(ID, num_envs=count, autoreset_mode=mode, **options)


def synchronous(count, mode, **options):
    makers = [lambda: gym.make(ID, **options) for _ in range(count)]
    return SyncVectorEnv(makers, autoreset_mode=mode)


def comparable(step):
    """Return a step with its final observations as a list: NumPy compares no arrays in arrays."""
    infos = dict(step[-1])
    if "final_obs" in infos:
        assert infos["final_obs"].dtype == object
        infos["final_obs"] = infos["final_obs"].tolist()
    return (*step[:-1], infos)


@pytest.mark.parametrize("options", [{}, {"max_episode_steps": 7}], ids=["whole", "cut"])
@pytest.mark.parametrize("actions", ["step", "free"])
@pytest.mark.parametrize("mode", MODES)
def test_it_equals_the_single_environments(mode, actions, options):
    options = {
        "actions": actions,
        "observation": "farm",
        "reward": "missed-tasks",
        "platform": {"slots_max": 2},
        "randomisation": {"rate": [0.2, 1.2]},
        "scenario": "paper-shuffled",
        **options,
    }
    ours, theirs = native(5, mode, **options), synchronous(5, mode, **options)
    assert ours.metadata["autoreset_mode"] is mode
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_equal(ours.reset(seed=11), theirs.reset(seed=11))
    theirs.action_space.seed(1)
    ends = 0
    for _ in range(90):
        action = theirs.action_space.sample()
        expected = theirs.step(action)
        np.testing.assert_equal(comparable(ours.step(action)), comparable(expected))
        ends += int(np.sum(expected[2] | expected[3]))
    assert ends > 10
    np.testing.assert_equal(ours.reset(), theirs.reset())


def test_the_two_modes_tell_the_end_differently():
    for mode in MODES:
        env = native(2, mode, max_steps=4)
        env.reset(seed=1)
        for _ in range(4):
            observations, _, terminated, truncated, infos = env.step([1, 1])
        assert np.all(terminated | truncated)
        if mode is AutoresetMode.SAME_STEP:
            assert infos["final_obs"].dtype == object
            assert infos["final_obs"][0].shape == (9,)
            assert infos["final_info"]["outcome"]["submitted"].tolist() == [1140, 1140]
            assert observations[0].tolist() == [3, 0, 0, 0, 12, 1.5, 0, 0, 1]
        else:
            assert infos["outcome"]["submitted"].tolist() == [1140, 1140]
            _, rewards, terminated, truncated, _ = env.step([1, 1])
            assert not np.any(terminated | truncated)
            assert rewards.tolist() == [0, 0]


@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics_are_recorded(mode):
    env = RecordEpisodeStatistics(native(3, mode, max_steps=20))
    env.reset(seed=2)
    total = np.zeros(3)
    for _ in range(20):
        _, rewards, terminated, truncated, infos = env.step([2, 1, 0])
        total += rewards
    assert np.all(terminated | truncated)
    np.testing.assert_allclose(infos["episode"]["r"], total)
    assert infos["episode"]["l"].tolist() == [20, 20, 20]


def test_seeds_replay_episodes():
    env = native(2, AutoresetMode.NEXT_STEP)
    _, infos = env.reset(options={"seeds": [4, 5]})
    assert infos["seed"].tolist() == [4, 5]


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="use NEXT_STEP or SAME_STEP"):
        native(2, AutoresetMode.DISABLED)
    env = native(2, AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="3 seeds for 2 environments"):
        env.reset(seed=[1, 2, 3])
    env.reset(seed=1)
    with pytest.raises(ValueError, match="1 actions for 2 environments"):
        env.step([1])
    with pytest.raises(ValueError, match="action -1 is not one of 0 to 2"):
        env.step([0, -1])


@pytest.mark.parametrize("mode", MODES)
def test_what_was_returned_stays_as_it_was(mode):
    env = native(2, mode)
    first, _ = env.reset(seed=1)
    kept = first.copy()
    second = env.step([2, 0])[0]
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
