"""Alerts and dashboards ask for figures that there are, and each alarm has its page."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggModifierType, AggregateExpr, VectorSelector, parse, walk

from app.core import metrics
from app.settings import Settings
from embedded import promtool
from tests.paths import PROJECT

DEPLOY: Final = PROJECT / "deploy"
# Prometheus' own, of each target.
OWN: Final = {"up": {"job", "instance"}}
TARGETS: Final = {"job", "instance", "le"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboards() -> dict[str, Any]:
    return {file.name: json.loads(file.read_text()) for file in (DEPLOY / "grafana").glob("*.json")}


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for name, board in dashboards().items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "5m")
                yield f"{name}: {panel['title']} {target['refId']}", expression


EXPRESSIONS: Final = dict(expressions())


def nodes(expression: str) -> list[Any]:
    found: list[Any] = []
    walk(parse(expression), found.append)
    return found


@pytest.fixture(scope="module")
def figures(app: Flask, settings: Settings) -> dict[str, set[str]]:
    """Each sample's name, with the labels that it has."""
    assert settings.metrics_token is not None
    metrics.observe_request(method="GET", route="/here", status=200, seconds=0.1)
    metrics.observe_limit("user")
    token = settings.metrics_token.get_secret_value()
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(answer.text):
        # One that nothing was counted in yet is there by its name alone.
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_a_figure_that_is_asked_for_is_there(where: str, figures: dict[str, set[str]]) -> None:
    """With the labels that are matched; a wrong one would never alarm, and nobody would know."""
    known = figures | OWN
    labels: set[str] = set()
    for node in nodes(EXPRESSIONS[where]):
        if isinstance(node, VectorSelector):
            assert node.name in known
            asked = {matcher.name for matcher in node.matchers.matchers}
            assert asked <= known[node.name] | TARGETS
            labels |= known[node.name] | TARGETS
    for node in nodes(EXPRESSIONS[where]):
        if isinstance(node, AggregateExpr) and node.modifier is not None:
            assert node.modifier.type == AggModifierType.By
            assert set(node.modifier.labels) <= labels


def test_a_wrong_name_would_be_seen(figures: dict[str, set[str]]) -> None:
    wrong = nodes('sum(rate(tenantry_http_request_total{state="5.."}[5m]))')
    (selector,) = [node for node in wrong if isinstance(node, VectorSelector)]
    assert selector.name not in figures


def test_every_figure_is_on_a_dashboard(figures: dict[str, set[str]]) -> None:
    shown = {
        node.name
        for expression in EXPRESSIONS.values()
        for node in nodes(expression)
        if isinstance(node, VectorSelector) and node.name
    }
    families = {re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in figures}
    assert {re.sub(r"_(bucket|total)$", "", name) for name in shown} >= families


@pytest.mark.skipif(not promtool.program().is_file(), reason="needs promtool: make alerts")
def test_alarms_ring_when_they_shall() -> None:
    for arguments in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool.judge(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alarm_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in (PROJECT / page).read_text(encoding="utf-8")


def test_the_run_book_knows_no_other_alarm() -> None:
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### (Tenantry\w+)$", page, re.MULTILINE)) == {
        rule["alert"] for rule in rules()
    }


def test_dashboards_can_be_imported_side_by_side() -> None:
    boards = dashboards()
    assert len({board["uid"] for board in boards.values()}) == len(boards) >= 2
    for board in boards.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])
