"""Tests of what a cluster is given: the stack of the examples, and the files in deploy/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CE_FUNCTIONS = 15
CE_REPLICAS = 5
API_VERSIONS = {
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "Job": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "ScaledObject": "keda.sh/v1alpha1",
}
# Read by Helm and by Prometheus, not by Kubernetes.
OTHERS = {
    "nats-values.yaml",
    "nats-values-auth.yaml",
    "nats-values-one-node.yaml",
    "openfaas-values.yaml",
    "prometheus-scrape.yaml",
}


def functions(**variables: str) -> dict[str, Any]:
    """Read the functions of the stack, with variables replaced as faas-cli does."""

    def value(match: re.Match[str]) -> str:
        return variables.get(match[1]) or match[2]

    text = (ROOT / "stack.yml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", value, text)
    assert "${" not in text.split("version:")[1]
    read: dict[str, Any] = yaml.safe_load(text)["functions"]
    return read


def objects() -> list[tuple[str, dict[str, Any]]]:
    """Read the Kubernetes objects of deploy/, each with the name of its file."""
    return [
        (file.name, document)
        for file in sorted((ROOT / "deploy").glob("*.yaml"))
        if file.name not in OTHERS
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    ]


def test_the_stack_is_yaml_before_its_variables_are_replaced() -> None:
    raw = yaml.safe_load((ROOT / "stack.yml").read_text(encoding="utf-8"))
    assert raw["functions"].keys() == functions().keys()


def test_ce_takes_the_stack() -> None:
    stack = functions()
    assert len(stack) <= CE_FUNCTIONS
    for name, function in stack.items():
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
        assert "labels" not in function, "CE refuses most labels of its scaler; none is needed"
        assert function["readonly_root_filesystem"] is True
        assert isinstance(function["secrets"], list)
        texts = {**function["environment"], **function["annotations"]}
        assert all(isinstance(text, str) for text in texts.values()), name


def test_no_function_wants_more_workers_than_ce_has() -> None:
    for name, function in functions().items():
        annotations = function["annotations"]
        if "farm.policy" in annotations:
            workers, slots = int(annotations["farm.max"]), int(annotations["farm.slots.max"])
            assert workers <= CE_REPLICAS * slots, name


def test_metrics_are_found_where_they_are() -> None:
    for function in functions().values():
        assert function["annotations"]["prometheus.io.scrape"] == "true"
        assert function["annotations"]["prometheus.io.port"] == "8081"


def test_variables_reach_every_function() -> None:
    stack = functions(
        OPENFAAS_PREFIX="registry.example.org/me",
        FARM_TAG="7",
        FARM_NATS_URL="nats://elsewhere:4222",
        FARM_REPLICAS="3",
        FARM_SECRETS_MANDELBROT_WORKER="[a, b]",
        FARM_SECRETS_AUTOSCALER="[basic-auth, c]",
    )
    for name, function in stack.items():
        assert re.fullmatch(r"registry\.example\.org/me/[a-z-]+:7", function["image"])
        assert function["environment"]["FARM_NATS_URL"] == "nats://elsewhere:4222"
        copies = function["environment"].get("FARM_REPLICAS")
        assert copies == (None if name == "farm-autoscaler" else "3")
    assert stack["mandelbrot-worker"]["secrets"] == ["a", "b"]
    assert stack["farm-autoscaler"]["secrets"] == ["basic-auth", "c"]


def test_functions_of_one_farm_agree() -> None:
    farms: dict[str, list[str]] = {}
    for name, function in functions().items():
        if farm := function["environment"].get("FARM_NAME"):
            assert function["annotations"]["farm.name"] == farm, name
            farms.setdefault(farm, []).append(function["environment"]["FARM_DEADLINE"])
    assert all(len(set(deadlines)) == 1 for deadlines in farms.values())


@pytest.mark.parametrize(("file", "thing"), objects())
def test_kubernetes_objects_are_of_known_kinds(file: str, thing: dict[str, Any]) -> None:
    assert thing["apiVersion"] == API_VERSIONS[thing["kind"]], file
    assert thing["metadata"]["name"]
    assert thing["metadata"]["namespace"] in {"openfaas-fn", "nats"}


def test_policies_and_scalers_name_functions_of_the_stack() -> None:
    named = set()
    for _, thing in objects():
        text = yaml.safe_dump(thing)
        named |= set(re.findall(r"faas_function: (\S+)", text))
        spec = thing["spec"]
        named.add(spec.get("scaleTargetRef", {}).get("name"))
        for term in spec.get("podSelector", {}).get("matchExpressions", []):
            named |= set(term["values"])
    named.discard(None)
    assert named == functions().keys()


def test_other_scalers_ask_for_what_ce_gives() -> None:
    for _, thing in objects():
        if "scaleTargetRef" in thing["spec"]:
            counts = {key: count for key, count in thing["spec"].items() if "eplica" in key}
            assert sorted(counts.values()) == [1, CE_REPLICAS]


def test_queues_of_the_examples_fit_the_volume() -> None:
    reserved = 4 * len({f["environment"].get("FARM_NAME") for f in functions().values()} - {None})
    for file in ("nats-values.yaml", "nats-values-one-node.yaml"):
        values = yaml.safe_load((ROOT / "deploy" / file).read_text(encoding="utf-8"))
        size = values["config"]["jetstream"]["fileStore"]["pvc"]["size"]
        assert int(size.removesuffix("Gi")) > reserved, file
