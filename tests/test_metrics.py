from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from accounts import services
from inference import runtime
from inference.engine.engine import Engine
from llmservice import __version__
from tests.models import tiny_engine
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True, scope="module")
def engine() -> Iterator[Engine]:
    ready = tiny_engine()
    runtime.install(ready)
    yield ready
    runtime.stop()


def samples(client: Client, **headers: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every value of `/metrics` by its name and labels."""
    families = text_string_to_metric_families(client.get("/metrics", headers=headers).content.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(found: Any, name: str, **labels: str) -> float:
    number: float = found.get((f"llmservice_{name}", tuple(sorted(labels.items()))), 0.0)
    return number


def test_a_generation_and_a_refusal_are_counted(client: Client) -> None:
    key = services.create_key(name="search").plaintext
    before = samples(client)

    for secret in (key, "not-a-key"):
        client.post(
            "/generate",
            {"prompt": "abcd", "max_new_tokens": 3},
            content_type="application/json",
            headers={"X-API-Key": secret},
        )

    after = samples(client)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("requests_total", method="POST", route="/generate", status="200") == 1
    assert grown("requests_total", method="POST", route="/generate", status="403") == 1
    assert grown("refusals_total", reason="key_invalid") == 1
    assert grown("prompt_tokens_total") == 4
    assert grown("completion_tokens_total") == 3
    for histogram in (
        *("time_to_first_token_seconds", "time_between_tokens_seconds"),
        *("queue_wait_seconds", "generation_seconds"),
    ):
        assert grown(f"{histogram}_count") == 1

    def counts_of_steps() -> tuple[float, float]:
        now = samples(client)
        return (
            value(now, "steps_total") - value(before, "steps_total"),
            value(now, "step_segments_total") - value(before, "step_segments_total"),
        )

    # The prompt's step chooses the first token. The last step is counted after its text has been published.
    wait_for(lambda: counts_of_steps() == (3, 3))


def test_the_engine_s_load_is_shown(client: Client) -> None:
    found = samples(client)

    assert value(found, "ready") == 1
    assert value(found, "kv_cache_tokens") == 4096
    assert value(found, "running_requests") == value(found, "queued_requests") == 0


def test_the_gauges_of_a_worker_that_drains_follow_its_last_requests(
    client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.install(draining := tiny_engine())
    idle = draining.load
    busy = replace(idle, queued=2, running=3, kv_tokens_used=48)
    try:
        runtime.drain()
        shown = []
        for load in (busy, idle):
            monkeypatch.setattr(Engine, "load", load)
            found = samples(client)
            gauges = ("ready", "queued_requests", "running_requests", "kv_cache_used_tokens")
            shown.append([value(found, name) for name in gauges])
    finally:
        runtime.stop()
        runtime.install(engine)

    assert shown == [[0, 2, 3, 48], [0, 0, 0, 0]]


def test_what_serves_is_named(client: Client, engine: Engine) -> None:
    (labels,) = (dict(labels) for name, labels in samples(client) if name == "llmservice_info")

    assert labels == {
        "version": __version__,
        "model": "tiny-gpt2",
        "format": "float32",
        "cpu_path": engine.compute_path,
    }
    assert "CPU" in engine.compute_path


def test_paths_and_methods_that_clients_invent_create_no_series(client: Client) -> None:
    client.get("/one/1")
    client.get("/two/2")
    client.generic("BREW", "/health")

    labels = {label for _, labels in samples(client) for label in labels}
    assert ("route", "none") in labels
    assert ("method", "other") in labels
    assert not {("route", "/one/1"), ("route", "/two/2"), ("method", "BREW")} & labels


def test_without_a_token_only_this_machine_may_read_the_metrics(client: Client) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 403


def test_with_a_token_only_its_holders_may_read_the_metrics(client: Client, settings: Settings) -> None:
    settings.METRICS_TOKEN = "good"

    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer bad"}).status_code == 403
    good = {"Authorization": "Bearer good"}
    assert client.get("/metrics", headers=good, REMOTE_ADDR="192.0.2.1").status_code == 200
