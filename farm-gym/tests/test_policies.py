"""Policies are loaded, trained and compared as the autoscaler runs them."""

import farm_gym
import gymnasium as gym
import numpy as np
import pytest

SEEDS = farm_gym.EVALUATION_SEEDS[:10]
SMALL = {
    "sarsa": {"steps": 3000, "checkpoints": 2, "checkpoint_episodes": 2},
    "dqn": {
        "steps": 400,
        "hidden": [8],
        "warm_up_steps": 100,
        "checkpoints": 2,
        "checkpoint_episodes": 2,
        "finalists": 1,
    },
}
SUFFIX = {"sarsa": "json", "dqn": "onnx"}


def quiet(_):
    """Say nothing of the progress."""


def test_a_rule_is_the_same_in_rust_and_in_python():
    ours = farm_gym.evaluate(lambda _: 15, seeds=SEEDS, actions="free")
    theirs = farm_gym.evaluate(farm_gym.load_policy("static", parallelism=16), seeds=SEEDS)
    assert ours.outcomes == theirs.outcomes
    assert theirs.mean("qos_ratio") > 0.97
    assert "16.00 ± 0.00 workers" in str(theirs)
    scattered = farm_gym.evaluate("reactive-average", seeds=list(SEEDS))
    assert scattered.outcomes == farm_gym.evaluate("reactive-average", seeds=SEEDS).outcomes


@pytest.mark.parametrize("algorithm", ["sarsa", "dqn"])
def test_what_is_trained_is_a_file_that_decides_the_same_everywhere(algorithm, tmp_path):
    files = [tmp_path / f"{name}.{SUFFIX[algorithm]}" for name in ("first", "second")]
    points = []
    for file in files:
        trained = farm_gym.train(
            algorithm, out=file, seed=3, settings=SMALL[algorithm], progress=points.append
        )
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(points) == 4
    assert points[-1].steps >= SMALL[algorithm]["steps"]
    assert trained.contract["training"]["algorithm"] == algorithm
    assert "farm_gym.train" in trained.contract["training"]["command"]
    loaded = farm_gym.load_policy(files[0])
    in_rust = farm_gym.evaluate(loaded, seeds=SEEDS)
    # float32 observations may fall on the other side of an edge now and then; these do not.
    in_python = farm_gym.evaluate(loaded.__call__, seeds=SEEDS, **loaded.options())
    assert in_rust.mean("qos_ratio") == pytest.approx(in_python.mean("qos_ratio"), abs=0.02)


def test_a_trained_policy_sees_what_it_was_trained_on(tmp_path):
    options = {"observation": "farm", "actions": "free", "scenario": "paper-shuffled"}
    trained = farm_gym.train(
        "dqn",
        out=tmp_path / "a.onnx",
        settings=SMALL["dqn"],
        progress=quiet,
        reward="missed-tasks",
        price=3.0,
        **options,
    )
    env = gym.make("farm_gym:farm/Farm-v0", **{**options, **trained.options()})
    observation, _ = env.reset(seed=1)
    assert observation.shape == (len(farm_gym.FARM_SENSES),)
    assert trained(observation) in env.action_space
    with pytest.raises(ValueError, match="9 numbers for 14 features"):
        trained(np.zeros(9, dtype=np.float32))


def test_what_progress_raises_ends_the_training(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        farm_gym.train("dqn", out=tmp_path / "a.onnx", settings=SMALL["dqn"], progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda _: farm_gym.load_policy("predictve"), "'predictve'|\"predictve\""),
        (lambda _: farm_gym.load_policy("queue", targt=1), "targt: unknown parameter"),
        (lambda out: farm_gym.train("ppo", out=out), "use sarsa or dqn"),
        (
            lambda out: farm_gym.train("dqn", out=out, settings={"stesp": 1}),
            '"stesp" is no setting',
        ),
        (lambda _: farm_gym.load_policy("queue")(np.zeros(9)), "use farm_gym.evaluate"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / "out")


def test_a_broken_file_is_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x0a")
    with pytest.raises(ValueError, match="the file"):
        farm_gym.load_policy(broken)
