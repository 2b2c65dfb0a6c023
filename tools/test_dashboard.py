"""Tests of the check of the Grafana dashboard and of its import."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import dashboard
import pytest

SERIES = {
    "farm_slots": {"farm"},
    "farm_tasks_total": {"farm", "role", "outcome"},
    "farm_task_service_seconds_bucket": {"farm", "le"},
}


def shipped() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(dashboard.DASHBOARD.read_text(encoding="utf-8"))
    return read


def test_the_shipped_dashboard_asks_for_what_is_exported() -> None:
    assert dashboard.problems(shipped(), dashboard.exported()) == []


def test_metrics_of_every_kind_are_found_in_the_sources() -> None:
    series = dashboard.exported()
    assert series["farm_tasks_total"] == {"farm", "role", "outcome"}
    assert series["farm_task_service_seconds_bucket"] == {"farm", "le"}
    assert series["farm_cold_start_seconds"] == {"farm"}
    assert series["http_requests_in_flight"] == set()
    assert series["farm_autoscaler_act_seconds_count"] == set()
    assert series["farm_autoscaler_in_flight_tasks"] == {"farm"}


def test_a_document_that_differs_from_the_code_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, prefix, _ = dashboard.SOURCES[0]
    monkeypatch.setattr(dashboard, "SOURCES", [(source, prefix, dashboard.SOURCES[1][2])])
    with pytest.raises(dashboard.DashboardError, match=r"farm_tasks_total"):
        dashboard.exported()


@pytest.mark.parametrize(
    "text",
    [
        "farm_slots",
        'sum by (farm) (farm_slots{farm=~"$farm"})',
        'sum(rate(farm_tasks_total{role="worker", outcome!="done|failed"}[5m])) by (farm)',
        "histogram_quantile(0.9, sum by (farm, le)"
        " (rate(farm_task_service_seconds_bucket[$__rate_interval])))",
        "sum(farm_slots) / sum(rate(farm_tasks_total[1m])) > 0.5",
    ],
)
def test_good_expressions_pass(text: str) -> None:
    assert list(dashboard.expression_problems(text, SERIES)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("farm_slot", "nobody exports 'farm_slot'"),
        ('farm_slots{role="worker"}', "farm_slots has no label 'role'"),
        ("sum by (pod) (farm_slots)", "farm_slots has no label 'pod'"),
        ("sum(rate(farm_task_service_seconds_bucket[5m]))", "without le"),
        ("sum(farm_slots", "'(' is never closed"),
        ("sum(farm_slots})", "unbalanced '}'"),
        ("summ(farm_slots)", "unknown function 'summ'"),
        ("1 + 1", "no metric"),
    ],
)
def test_bad_expressions_are_told(text: str, problem: str) -> None:
    found = list(dashboard.expression_problems(text, SERIES))
    assert len(found) == 1
    assert problem in found[0]


def test_a_bad_shape_is_told() -> None:
    bad = copy.deepcopy(shipped())
    del bad["title"]
    first, second, third, *_ = bad["panels"]
    second["id"] = first["id"]
    second["gridPos"] = first["gridPos"]
    third["gridPos"]["x"] = 23
    first["type"] = "graph"
    first["targets"][0]["legendFormat"] = "{{pod}}"
    second["targets"][0]["datasource"]["uid"] = "mine"
    bad["templating"]["list"][1]["query"]["query"] = "label_values(farm_slots, pod)"
    found = "\n".join(dashboard.problems(bad, dashboard.exported()))
    for problem in (
        "title is missing",
        "whole numbers of their own",
        "overlap",
        "beyond column 24",
        "its type is none of",
        "the legend shows 'pod'",
        "does not use the variable datasource",
        "variable 'farm'",
    ):
        assert problem in found


class Grafana(BaseHTTPRequestHandler):
    """Answers imports, and keeps them."""

    status = 200
    asked: list[tuple[str, str, dict[str, Any]]]

    def do_POST(self) -> None:
        """Take a dashboard in."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body))
        answer = {"status": "success", "url": "/d/rust-farm/rust-farm"}
        if self.status != 200:
            answer = {"message": "Permission denied"}
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def grafana() -> Iterator[tuple[str, type[Grafana]]]:
    handler = type("Handler", (Grafana,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", handler
        server.shutdown()
        thread.join()


def test_an_import_replaces_the_dashboard(grafana: tuple[str, type[Grafana]]) -> None:
    url, handler = grafana
    address = dashboard.import_into(url, shipped(), "Bearer x", "folder-1")
    assert address == url + "d/rust-farm/rust-farm"
    [(path, who, body)] = handler.asked
    assert (path, who) == ("/api/dashboards/db", "Bearer x")
    assert (body["overwrite"], body["folderUid"]) == (True, "folder-1")
    assert body["dashboard"]["id"] is None
    assert body["dashboard"]["panels"] == shipped()["panels"]


def test_a_refused_import_says_why(grafana: tuple[str, type[Grafana]]) -> None:
    url, handler = grafana
    handler.status = 403
    with pytest.raises(dashboard.DashboardError, match=r"answered 403: .*Permission denied"):
        dashboard.import_into(url, shipped(), "Bearer x", None)


def test_who_imports_is_read_from_the_environment() -> None:
    assert dashboard.authorization({"GRAFANA_TOKEN": "abc"}) == "Bearer abc"
    basic = {"GRAFANA_USER": "admin", "GRAFANA_PASSWORD": "p"}
    assert dashboard.authorization(basic) == "Basic YWRtaW46cA=="
    with pytest.raises(dashboard.DashboardError, match="set GRAFANA_TOKEN"):
        dashboard.authorization({"GRAFANA_USER": "admin"})
