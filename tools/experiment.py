#!/usr/bin/env python3
"""Redoes the experiment of arXiv 2602.06555 in the simulator, and more.

Trains the policies that are shipped anew and compares them byte for byte, tunes the rules that have
settings on validation seeds, evaluates everything on seeds that nothing was chosen by, and writes
tables and pictures into docs/experiment.md. `make experiment` builds the `farm` command and calls
this.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from document import MissingSectionError, replace_section

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "experiment.md"
IMAGES = ROOT / "docs" / "images"
MODELS = ROOT / "farm-policy" / "models"
OUT = ROOT / "out" / "experiment"

PAPER_TARGET = 0.992
UNSEEN_TARGET = 0.98
TUNING_SEEDS = 100
UNSEEN = ["sine", "ramp", "bursts", "heavy", "departures", "phases", "poisson"]

# Published: QoS %, mean workers, scaling actions, of ten episodes each.
PUBLISHED = {
    "reactive-average": ("50.87", "10.79", "28.4"),
    "reactive-maximum": ("65.61", "13.92", "26.8"),
    "sarsa": ("99.20", "14.78", "24.0"),
    "dqn": ("94.91", "14.40", "3.6"),
}

Report = dict[str, Any]


class ExperimentError(Exception):
    """What went wrong, in one line for a person."""


@dataclass
class Model:
    """A trained policy that is shipped."""

    path: Path
    algorithm: str
    command: str
    scenario: str
    actions: str
    interval_seconds: float

    @property
    def policy(self) -> str:
        """The policy as the command line takes it."""
        return f"{self.algorithm}:model={self.path}"


@dataclass
class Training:
    """A model, trained anew."""

    model: Model
    seconds: float
    steps: int
    is_identical: bool


class Farm:
    """The command under test."""

    def __init__(self, binary: Path) -> None:
        """Use this binary."""
        self.binary = binary

    def run(self, *words: str) -> Any:  # noqa: ANN401
        """Run a command that prints JSON."""
        command = [str(self.binary), *words, "--json"]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            shown = " ".join(["farm", *words])
            raise ExperimentError(f"{shown}: {ended.stderr.strip().splitlines()[-1:]}")
        return json.loads(ended.stdout)

    def evaluate(self, scenario: str, policies: Iterable[str], *words: str) -> Report:
        """Evaluate policies on one scenario."""
        named = [word for policy in policies for word in ("--policy", policy)]
        answer = self.run("evaluate", "--scenario", scenario, *named, *words)
        report: Report = answer["scenarios"][0]
        return report


def main() -> int:
    """Do it all; 0 means that every trained policy came out as it is shipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--farm", type=Path, default=ROOT / "target/release/farm")
    parser.add_argument("--models", type=Path, default=MODELS, help="the trained policies")
    parser.add_argument("--skip-training", action="store_true", help="only evaluate")
    arguments = parser.parse_args()
    farm = Farm(arguments.farm)
    began = time.monotonic()
    OUT.mkdir(parents=True, exist_ok=True)
    try:
        models = [
            read_model(path) for path in sorted(arguments.models.glob("*.*")) if is_model(path)
        ]
        trainings = [] if arguments.skip_training else train_all(farm, models)
        parts = evaluate_all(farm, models)
        if not arguments.skip_training:
            parts["training"] = training_table(trainings)
        parts["time"] = f"Wall time of this run: {time.monotonic() - began:.0f} s.\n"
        write_document(parts)
    except (ExperimentError, MissingSectionError, OSError) as error:
        print(f"experiment: {error}", file=sys.stderr)
        return 1
    differing = [training.model.path.name for training in trainings if not training.is_identical]
    for name in differing:
        print(f"experiment: {name} was not made by its command as it is", file=sys.stderr)
    print(f"wrote {DOCUMENT.relative_to(ROOT)} after {time.monotonic() - began:.0f} s")
    return 1 if differing else 0


def is_model(path: Path) -> bool:
    """Tell whether a file is a trained policy."""
    return path.suffix in {".json", ".onnx"}


def read_model(path: Path) -> Model:
    """Read the contract of a trained policy; in ONNX it is JSON among the metadata."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    decoder = json.JSONDecoder()
    for start in re.finditer(r'\{\s*"version"', text):
        try:
            contract, _ = decoder.raw_decode(text, start.start())
        except json.JSONDecodeError:
            continue
        contract = contract.get("contract", contract)
        if "training" in contract:
            training = contract["training"]
            return Model(
                path=path,
                algorithm=training["algorithm"],
                command=training["command"],
                scenario=training["scenario"],
                actions="step" if "steps" in contract["actions"] else "free",
                interval_seconds=contract["interval_seconds"],
            )
    raise ExperimentError(f"{path.name}: no contract found in it")


def train_all(farm: Farm, models: list[Model]) -> list[Training]:
    """Train every model anew, one on each of two cores."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(lambda model: train(farm, model), models))


def train(farm: Farm, model: Model) -> Training:
    """Train one model with the command that it names."""
    program, *words = model.command.split()
    if program != "farm" or words[:1] != ["train"]:
        raise ExperimentError(f"{model.path.name}: made by {model.command!r}, not by farm train")
    # One write: two trainings begin at the same time.
    sys.stdout.write(f"training {model.path.name}: {model.command}\n")
    sys.stdout.flush()
    out = OUT / model.path.name
    curve = IMAGES / f"experiment-curve-{model.path.stem}.svg"
    answer = farm.run(*words, "--out", str(out), "--curve", str(curve), "--seeds", "2")
    is_identical = out.read_bytes() == model.path.read_bytes()
    return Training(model, answer["seconds"], answer["steps"], is_identical)


def tune(farm: Farm, scenario: str, target: float, actions: str, rules: list[str]) -> str:
    """Choose the setting with the fewest workers that reaches the target on validation seeds."""
    words = ("--target", str(target), "--actions", actions)
    seeds = ("--on", "validation", "--seeds", str(TUNING_SEEDS))
    report = farm.evaluate(scenario, rules, *words, *seeds)
    rows = list(zip(rules, report["policies"][1:], strict=True))
    reaching = [row for row in rows if row[1]["qos_ratio"]["mean"] >= target]
    if reaching:
        return min(reaching, key=lambda row: float(row[1]["parallelism_mean"]["mean"]))[0]
    return max(rows, key=lambda row: float(row[1]["qos_ratio"]["mean"]))[0]


def grid(scenario: str) -> tuple[list[str], list[str]]:
    """Give the settings of `queue` and of `utilisation` among which is tuned."""
    # A floor is what people set first; that of the paper's workload is near its best constant.
    is_paper = scenario in {"paper", "paper-shuffled"}
    floors = [1, 12, 13, 14, 15, 16] if is_paper else [1, 4, 8]
    windows, targets = ["0s", "30s", "2m"], [0.5, 0.65, 0.8, 0.95, 1.25]
    queue = [
        f"queue:target={target},window={window},farm.min={floor},farm.stabilisation=0s"
        for target, window, floor in product(targets, windows, floors)
    ]
    smoothings, targets = ["0s", "15s", "30s"], [0.4, 0.5, 0.6, 0.7, 0.8]
    utilisation = [
        f"utilisation:target={target},smoothing={smoothing},farm.min={floor},farm.stabilisation={fall}"
        for target, smoothing, floor, fall in product(targets, smoothings, floors, ["0s", "30s"])
    ]
    return queue, utilisation


def evaluate_all(farm: Farm, models: list[Model]) -> dict[str, str]:
    """Evaluate everything; return the generated parts of the document by name."""
    parts = {}
    for actions in ("step", "free"):
        print(f"scenario paper, {actions}", flush=True)
        report = evaluate_on(farm, "paper", PAPER_TARGET, actions, models, "textbook")
        parts[f"paper-{actions}"] = table(report)
        if actions == "step":
            parts["published"] = published_table(report)
        parts[f"shuffled-{actions}"] = table(
            evaluate_on(farm, "paper-shuffled", PAPER_TARGET, actions, models)
        )
    parts["fast"] = table(evaluate_on(farm, "paper-fast", PAPER_TARGET, "free", models))
    reports = []
    for scenario in UNSEEN:
        print(f"scenario {scenario}", flush=True)
        reports.append(evaluate_on(farm, scenario, UNSEEN_TARGET, "free", models))
    parts["unseen"] = unseen_table(reports)
    parts["unseen-all"] = "\n".join(f"### {r['scenario']}\n\n{table(r)}" for r in reports)
    policy = next((m.policy for m in models if m.path.name == "paper.sarsa.json"), "predictive")
    picture = IMAGES / "experiment-episode.svg"
    farm.run("simulate", "--policy", policy, "--seed", "42", "--plot", str(picture))
    return parts


def evaluate_on(
    farm: Farm, scenario: str, target: float, actions: str, models: list[Model], *extra: str
) -> Report:
    """Evaluate all rules, tuned for this scenario, and the models that fit it."""
    policies = ["reactive-average", "reactive-maximum", "predictive"]
    policies += ["queue", "utilisation"] if "textbook" in extra else []
    policies += [tune(farm, scenario, target, actions, rules) for rules in grid(scenario)]
    interval = 8.0 if scenario in {"paper", "paper-shuffled"} else 1.0
    policies += [
        model.policy
        for model in models
        if model.interval_seconds == interval and model.actions in {actions, "step"}
    ]
    picture = IMAGES / f"experiment-{scenario}-{actions}.svg"
    words = ("--target", str(target), "--actions", actions, "--pareto", str(picture))
    return farm.evaluate(scenario, list(dict.fromkeys(policies)), *words)


def estimate(value: dict[str, float], factor: float, digits: int) -> str:
    """Write a mean with its 95 % interval."""
    mean, half = value["mean"] * factor, value["half_width_95"] * factor
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def table(report: Report) -> str:
    """Write the table of one scenario."""
    lines = [
        "| policy | QoS % | sd | workers | max | worker-seconds | actions | no-ops | unfinished |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["policies"]:
        reached = row["qos_ratio"]["mean"] >= report["target_qos_ratio"]
        name = f"**{row['policy']}**" if reached else row["policy"]
        means = [
            f"{row[key]['mean']:.{digits}f}"
            for key, digits in (
                ("parallelism_max", 1),
                ("worker_seconds", 0),
                ("scaling_actions", 1),
                ("no_ops", 1),
                ("unfinished_tasks", 1),
            )
        ]
        qos, sd = estimate(row["qos_ratio"], 100, 2), row["qos_ratio"]["sd"] * 100
        workers = estimate(row["parallelism_mean"], 1, 2)
        lines.append(f"| {name} | {qos} | {sd:.2f} | {workers} | {' | '.join(means)} |")
    target = 100 * report["target_qos_ratio"]
    lines.append(f"\n{report['episodes']} seeds; in bold: mean QoS of at least {target:.4g} %.\n")
    return "\n".join(lines)


def published_table(report: Report) -> str:
    """Write what the paper published beside what was found here."""
    lines = [
        "| policy | published: QoS % | workers | actions | here: QoS % | workers | actions |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, published in PUBLISHED.items():
        # The published policies knew the script.
        named = [row for row in report["policies"] if row["policy"].split()[0] == name]
        rows = [row for row in named if "shuffled" not in row["policy"]]
        for row in rows:
            here = (
                estimate(row["qos_ratio"], 100, 2),
                estimate(row["parallelism_mean"], 1, 2),
                f"{row['scaling_actions']['mean']:.1f}",
            )
            lines.append(f"| {' | '.join((row['policy'], *published, *here))} |")
        if not rows:
            lines.append(f"| {' | '.join((name, *published, '', '', ''))} |")
    return "\n".join(lines) + "\n"


def unseen_table(reports: list[Report]) -> str:
    """Write how `predictive` does against the best rule tuned for each workload."""
    lines = [
        "| workload | predictive: QoS % | workers | best tuned for it | workers | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for report in reports:
        rows = report["policies"]
        ours = next(row for row in rows if row["policy"] == "predictive")
        others = [
            row
            for row in rows
            if row is not ours and row["qos_ratio"]["mean"] >= report["target_qos_ratio"]
        ]
        best = min(others, key=lambda row: float(row["parallelism_mean"]["mean"]), default=None)
        qos = estimate(ours["qos_ratio"], 100, 2)
        workers = ours["parallelism_mean"]["mean"]
        if best is None:
            lines.append(f"| {report['scenario']} | {qos} | {workers:.2f} | none | | |")
            continue
        tuned = best["parallelism_mean"]["mean"]
        cells = (report["scenario"], qos, f"{workers:.2f}", best["policy"], f"{tuned:.2f}")
        lines.append(f"| {' | '.join(cells)} | {workers / tuned:.2f} |")
    return "\n".join(lines) + "\n"


def training_table(trainings: list[Training]) -> str:
    """Write what was trained, how long it took, and whether it is what is shipped."""
    lines = ["| file | made by | steps | seconds | as shipped |", "|---|---|---|---|---|"]
    for training in trainings:
        model = training.model
        same = "yes, byte for byte" if training.is_identical else "**no**"
        cells = (f"`{model.path.name}`", f"`{model.command}`", str(training.steps))
        lines.append(f"| {' | '.join(cells)} | {training.seconds:.0f} | {same} |")
    return "\n".join(lines) + "\n"


def write_document(parts: dict[str, str]) -> None:
    """Put the parts between their markers; what is written by hand stays."""
    text = DOCUMENT.read_text()
    for name, part in parts.items():
        text = replace_section(text, name, part)
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
