"""The native trainers: a policy for the autoscaler, in minutes, without any framework."""

import argparse

import farm_gym


def main() -> None:
    """Train, and compare with the best that needs no policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("algorithm", choices=("sarsa", "dqn"), nargs="?", default="sarsa")
    parser.add_argument("--scenario", default="paper")
    parser.add_argument("--actions", choices=("step", "free"), default="step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="file [default: sarsa.json or dqn.onnx]")
    given = parser.parse_args()
    out = given.out or {"sarsa": "sarsa.json", "dqn": "dqn.onnx"}[given.algorithm]
    trained = farm_gym.train(
        given.algorithm,
        scenario=given.scenario,
        actions=given.actions,
        seed=given.seed,
        out=out,
    )
    constant = farm_gym.load_policy("static", parallelism=16)
    print(f"{out:12} {farm_gym.evaluate(trained, given.scenario)}")
    print(f"{'static 16':12} {farm_gym.evaluate(constant, given.scenario)}")


if __name__ == "__main__":
    main()
