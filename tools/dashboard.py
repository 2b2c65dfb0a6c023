#!/usr/bin/env python3
"""Checks the Grafana dashboard, and puts it into a Grafana.

python3 tools/dashboard.py                                checks it, without a network
python3 tools/dashboard.py --import http://grafana:3000   checks and imports it

Every expression may use only metrics and labels that the SDK and the autoscaler export. The import
authenticates by GRAFANA_TOKEN, or by GRAFANA_USER and GRAFANA_PASSWORD.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "deploy/grafana/rust-farm.json"
ANSWER_SECONDS = 30
GRID_COLUMNS = 24
LONGEST_UID = 40
PANEL_TYPES = {"stat", "timeseries"}
DATASOURCE = "${datasource}"


class DashboardError(Exception):
    """What is wrong, a problem a line."""


# --- what is exported ---------------------------------------------------------------------------

# Where metrics are registered, the prefix of their names, and the document with their labels.
SOURCES = [
    ("farm-sdk/src/metrics.rs", "farm_", "docs/operations.md"),
    ("farm-autoscaler/src/metrics.rs", "farm_autoscaler_", "docs/scaling.md"),
]
# A name, its help and the field that counts, in a call or in a table of calls.
REGISTERED = re.compile(
    r'"(?P<name>[a-z_]+)",\s*"[^"]*",\s*(?:Unit::Seconds,\s*)?&?(?:self|metrics)\.(?P<field>\w+)'
)
FIELD = re.compile(r"^    (\w+): ([^(].*),$", re.MULTILINE)
ROW = re.compile(r"^\| (?P<names>`(?:farm|http)_[^|]*)\|(?P<labels>[^|]*)\|", re.MULTILINE)


def registered(source: str, prefix: str) -> dict[str, str]:
    """Read out of Rust which metrics are registered; of what kind, by name without suffixes."""
    fields = dict(FIELD.findall(source))
    metrics = {}
    for match in REGISTERED.finditer(source):
        kind = kind_of(fields[match["field"]])
        name = match["name"] if match["name"].startswith("http_") else prefix + match["name"]
        suffix = {"counter": "_total", "gauge": "", "histogram": "_seconds"}[kind]
        # The one gauge with a unit is registered as histograms are.
        if kind == "gauge" and "Unit::Seconds" in match[0]:
            suffix = "_seconds"
        metrics[name + suffix] = kind
    return metrics


def kind_of(rust_type: str) -> str:
    """Tell a counter, a histogram or a gauge by the type of its field."""
    for kind in ("Counter", "Histogram"):
        if kind in rust_type:
            return kind.lower()
    return "gauge"


def documented(document: str) -> dict[str, set[str]]:
    """Read metrics and their labels out of the tables of a document."""
    return {
        name: set(re.findall(r"\w+", row["labels"]))
        for row in ROW.finditer(document)
        for name in re.findall(r"`(\w+)`", row["names"])
    }


def exported(root: Path = ROOT) -> dict[str, set[str]]:
    """Give the labels of every series, by its name; refuse documents that differ from the code."""
    series: dict[str, set[str]] = {}
    for source, prefix, document in SOURCES:
        kinds = registered((root / source).read_text(encoding="utf-8"), prefix)
        labels = documented((root / document).read_text(encoding="utf-8"))
        if kinds.keys() != labels.keys():
            differing = ", ".join(sorted(kinds.keys() ^ labels.keys()))
            raise DashboardError(f"{source} and {document} differ in: {differing}")
        for name, kind in kinds.items():
            if kind == "histogram":
                series[f"{name}_bucket"] = labels[name] | {"le"}
                series |= {name + end: labels[name] for end in ("_sum", "_count")}
            else:
                series[name] = labels[name]
    return series


# --- expressions --------------------------------------------------------------------------------

TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*"|\$\w+|\d+(?:\.\d+)?[smhd]?|[A-Za-z_:][\w:]*|[=!]~|!=|[^\s\w]'
)
FUNCTIONS = {"rate", "increase", "sum", "max", "min", "avg", "histogram_quantile", "clamp_min"}
GROUPINGS = {"by", "without", "on", "ignoring"}
BRACKETS = {")": "(", "}": "{", "]": "["}


@dataclass
class Expression:
    """What a PromQL expression speaks of."""

    metrics: dict[str, set[str]]
    grouped_by: set[str]


def parse(text: str) -> Expression:
    """Read the part of PromQL that the dashboard uses; refuse any other."""
    tokens = TOKEN.findall(text)
    expression = Expression({}, set())
    opened: list[str] = []
    metric, groups = "", False
    for word, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if word in BRACKETS.values():
            opened.append(word)
        elif word in BRACKETS:
            if not opened or opened.pop() != BRACKETS[word]:
                raise DashboardError(f"unbalanced {word!r} in {text!r}")
            groups = groups and word != ")"
        elif not re.match(r"[A-Za-z_]", word):
            continue
        elif word in GROUPINGS:
            groups = True
        elif groups:
            expression.grouped_by.add(word)
        elif opened[-1:] == ["{"]:
            expression.metrics[metric].add(word)
        elif following == "(" or following in GROUPINGS:
            if word not in FUNCTIONS:
                raise DashboardError(f"unknown function {word!r} in {text!r}")
        else:
            metric = word
            expression.metrics.setdefault(metric, set())
    if opened:
        raise DashboardError(f"{opened[-1]!r} is never closed in {text!r}")
    return expression


def expression_problems(text: str, series: Mapping[str, set[str]]) -> Iterator[str]:
    """Say which metrics and labels of an expression nobody exports."""
    try:
        expression = parse(text)
    except DashboardError as error:
        yield str(error)
        return
    if not expression.metrics:
        yield f"no metric in {text!r}"
    for name, matched in expression.metrics.items():
        if name not in series:
            yield f"nobody exports {name!r}: {text!r}"
            continue
        for label in sorted((matched | expression.grouped_by) - series[name]):
            yield f"{name} has no label {label!r}: {text!r}"
        if name.endswith("_bucket") and "le" not in expression.grouped_by:
            yield f"{name} without le: {text!r}"


# --- the dashboard ------------------------------------------------------------------------------


def problems(dashboard: Mapping[str, Any], series: Mapping[str, set[str]]) -> list[str]:
    """Say everything that is wrong with a dashboard."""
    return [
        *shape_problems(dashboard),
        *variable_problems(dashboard, series),
        *(
            f"panel {panel.get('title')!r}: {problem}"
            for panel in dashboard.get("panels", [])
            for problem in panel_problems(panel, series)
        ),
    ]


def shape_problems(dashboard: Mapping[str, Any]) -> Iterator[str]:
    """Check what Grafana needs of a dashboard of the classic model."""
    kinds = {"uid": str, "title": str, "schemaVersion": int, "panels": list, "templating": dict}
    for key, kind in kinds.items():
        if not isinstance(dashboard.get(key), kind) or not dashboard[key]:
            yield f"{key} is missing, or is no {kind.__name__}"
    if len(str(dashboard.get("uid"))) > LONGEST_UID:
        yield f"uid is longer than {LONGEST_UID}"
    panels = dashboard.get("panels", [])
    ids = [panel.get("id") for panel in panels]
    if len(set(ids)) != len(ids) or not all(isinstance(id_, int) for id_ in ids):
        yield "panels need whole numbers of their own as id"
    placed: list[tuple[str, set[tuple[int, int]]]] = []
    for panel in panels:
        title, place = str(panel.get("title")), panel.get("gridPos", {})
        if not all(isinstance(place.get(key), int) for key in "xywh"):
            yield f"panel {title!r} has no place"
            continue
        columns = range(place["x"], place["x"] + place["w"])
        if columns.stop > GRID_COLUMNS:
            yield f"panel {title!r} is beyond column {GRID_COLUMNS}"
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        yield from (
            f"panels {other!r} and {title!r} overlap" for other, has in placed if has & cells
        )
        placed.append((title, cells))


def variable_problems(
    dashboard: Mapping[str, Any], series: Mapping[str, set[str]]
) -> Iterator[str]:
    """Check what the variables at the top are filled from."""
    variables = dashboard.get("templating", {}).get("list", [])
    if "datasource" not in [variable.get("name") for variable in variables]:
        yield "there is no variable datasource"
    for variable in variables:
        if variable.get("type") != "query":
            continue
        query = variable.get("query", {}).get("query", "")
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        if not match or match[2] not in series.get(match[1], set()):
            yield f"variable {variable.get('name')!r}: nobody exports what {query!r} asks for"


def panel_problems(panel: Mapping[str, Any], series: Mapping[str, set[str]]) -> Iterator[str]:
    """Check one panel and its queries."""
    if panel.get("type") not in PANEL_TYPES:
        yield f"its type is none of {', '.join(sorted(PANEL_TYPES))}"
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "it has no unit"
    targets = panel.get("targets", [])
    if not targets:
        yield "it has no query"
    letters = [target.get("refId") for target in targets]
    if len(set(letters)) != len(letters):
        yield "queries share a refId"
    for target in targets:
        if target.get("datasource", {}).get("uid") != DATASOURCE:
            yield f"query {target.get('refId')} does not use the variable datasource"
        text = target.get("expr", "")
        found = list(expression_problems(text, series))
        yield from found
        if not found:
            shown = set(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            for label in sorted(shown - parse(text).grouped_by):
                yield f"the legend shows {label!r}, by which {text!r} does not group"


# --- the import ---------------------------------------------------------------------------------


def authorization(environment: Mapping[str, str]) -> str:
    """Make the header that says who imports."""
    if token := environment.get("GRAFANA_TOKEN"):
        return f"Bearer {token}"
    user, password = environment.get("GRAFANA_USER"), environment.get("GRAFANA_PASSWORD")
    if not user or not password:
        raise DashboardError("set GRAFANA_TOKEN, or GRAFANA_USER and GRAFANA_PASSWORD")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def import_into(url: str, dashboard: Mapping[str, Any], who: str, folder: str | None) -> str:
    """Create the dashboard, or replace it; give its address."""
    if not url.startswith(("http://", "https://")):
        raise DashboardError(f"{url} is no http:// or https:// address")
    body: dict[str, Any] = {"dashboard": dict(dashboard) | {"id": None}, "overwrite": True}
    if folder:
        body["folderUid"] = folder
    request = urllib.request.Request(  # noqa: S310 (checked above)
        url.rstrip("/") + "/api/dashboards/db",
        data=json.dumps(body).encode(),
        headers={"Authorization": who, "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            imported = json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace").strip()
        raise DashboardError(f"Grafana at {url} answered {error.code}: {text}") from error
    except (OSError, ValueError) as error:
        raise DashboardError(f"Grafana at {url} cannot be asked: {error}") from error
    return url.rstrip("/") + str(imported.get("url", ""))


def main() -> int:
    """Check the dashboard, and import it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=DASHBOARD, help="the dashboard")
    parser.add_argument("--import", dest="url", help="address of the Grafana to import it into")
    parser.add_argument("--folder", help="uid of the folder in Grafana")
    options = parser.parse_args()
    try:
        dashboard = json.loads(options.file.read_text(encoding="utf-8"))
        if found := problems(dashboard, exported()):
            raise DashboardError("\n".join(found))
        print(f"{options.file.name}: {len(dashboard['panels'])} panels, all metrics are exported")
        if options.url:
            who = authorization(os.environ)
            print(import_into(options.url, dashboard, who, options.folder))
    except (OSError, ValueError, DashboardError) as error:
        print("\n".join(f"dashboard: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
