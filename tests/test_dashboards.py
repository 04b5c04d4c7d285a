"""The alert rules and the dashboard of `deploy/` name only what `/metrics` serves."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from django.urls import get_resolver
from prometheus_client.parser import text_string_to_metric_families

from inference.engine.engine import Engine
from llmservice.environment import BASE_DIR
from llmservice.http.codes import declared
from llmservice.metrics import ALERTED_REASONS

PROMETHEUS = BASE_DIR / "deploy" / "prometheus"
DASHBOARD = BASE_DIR / "deploy" / "grafana" / "dashboards" / "llmservice.json"
OPERATIONS = BASE_DIR / "docs" / "operations.md"

# Prometheus adds these to every series.
OWN_LABELS = {"instance", "job"}
SERIES = re.compile(r"\b(llmservice_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!=|!~|=)"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")
LEGEND = re.compile(r"\{\{(\w+)\}\}")

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def targets() -> list[dict[str, Any]]:
    return [target for panel in panels() for target in panel["targets"]]


def expressions() -> list[str]:
    return [rule["expr"] for rule in alerts()] + [target["expr"] for target in targets()]


def labels_of(expression: str) -> Iterator[tuple[str, str]]:
    """Each series that an expression names, with each label that it is selected or grouped by."""
    for name, selector in SERIES.findall(expression):
        yield from ((name, label) for label, _, _ in MATCHER.findall(selector or ""))
        for group in GROUPED.findall(expression):
            yield from ((name, label.strip()) for label in group.split(","))


@pytest.fixture
def served(client: Client, engine: Engine, key: str) -> dict[str, set[str]]:
    """The labels of every series of `/metrics`, after a request that succeeded and one that was refused."""
    for secret in (key, "not-a-key"):
        client.post(
            "/generate",
            {"prompt": "abcd", "max_new_tokens": 3},
            content_type="application/json",
            headers={"X-API-Key": secret},
        )
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_metric_and_label_is_served(served: dict[str, set[str]]) -> None:
    unknown = [
        (name, label)
        for expression in expressions()
        for name, label in [(name, "") for name, _ in SERIES.findall(expression)] + [*labels_of(expression)]
        if name not in served or label not in served[name] | OWN_LABELS | {""}
    ]

    assert unknown == []


def test_a_legend_names_labels_that_its_expression_keeps() -> None:
    for target in targets():
        kept = {label for _, label in labels_of(target["expr"])}
        assert set(LEGEND.findall(target["legendFormat"])) <= kept, target["expr"]


def test_every_reason_and_method_that_is_selected_exists() -> None:
    known = {
        "reason": {code.name for code in declared()},
        "method": {"GET", "POST"},
    }
    for expression in expressions():
        for label, _, values in MATCHER.findall(expression):
            if label in known:
                assert set(values.split("|")) <= known[label], expression


def test_the_series_of_each_reason_that_an_alert_watches_begin_before_its_first_refusal() -> None:
    watched = {
        reason
        for rule in alerts()
        for _, selector in SERIES.findall(rule["expr"])
        for label, _, value in MATCHER.findall(selector or "")
        if label == "reason"
        for reason in value.split("|")
    }
    assert watched == set(ALERTED_REASONS)


def test_each_alert_has_a_section_in_the_documentation() -> None:
    sections = re.findall(r"^#+ (LLMService\w+)$", OPERATIONS.read_text(), flags=re.MULTILINE)

    assert sections == [rule["alert"] for rule in alerts()]
    for rule in alerts():
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


def test_the_documentation_s_table_names_every_metric(served: dict[str, set[str]]) -> None:
    text = OPERATIONS.read_text()
    metrics = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for name in served
        if name.startswith("llmservice_") and not name.endswith("_created")
    }

    assert {name for name in metrics if name not in text} == set()


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_prometheus_reads_metrics_where_they_are_and_finds_the_rules() -> None:
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

    (scrape,) = configuration["scrape_configs"]
    path = scrape.get("metrics_path", "/metrics")
    assert get_resolver().resolve(path).url_name == "metrics"
    assert scrape["authorization"]["type"] == "Bearer"
    assert all((PROMETHEUS / name).is_file() for name in configuration["rule_files"])
    assert f'job="{scrape["job_name"]}"' in alerts()[0]["expr"]


@pytest.mark.slow
@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "--syntax-only", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_promtool
def test_promtool_accepts_the_configuration_for_kubernetes(tmp_path: Path) -> None:
    configuration = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
    (scrape,) = configuration["scrape_configs"]
    # Some promtools, such as Debian's, are built without the discovery of Kubernetes.
    del scrape["kubernetes_sd_configs"]
    scrape["static_configs"] = [{"targets": ["llm.example"]}]
    copy = tmp_path / "prometheus.yml"
    copy.write_text(yaml.safe_dump(configuration))

    command = ["promtool", "check", "config", "--syntax-only", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@needs_promtool
def test_promtool_finds_no_fault_in_the_metrics_themselves(
    client: Client, served: dict[str, set[str]]
) -> None:
    text = client.get("/metrics").content

    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()
