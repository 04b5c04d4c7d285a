"""What `/metrics` tells of an engine behind the service."""

from collections.abc import Iterator

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from inference import runtime
from inference.engine.errors import EngineError
from llmservice import metrics
from tests.scripted_engine import ScriptedEngine, drops, each_in_turn, error, scripted_engine, stream
from tests.upstream_requests import COMPLETIONS, TWO, WAIT_S, connecting, request, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as engine:
        yield engine
    metrics.info.clear()  # other tests serve another model


def series(client: Client) -> dict[str, float]:
    """The values of the upstream metrics, those with a result under that."""
    families = text_string_to_metric_families(client.get("/metrics").content.decode())
    return {
        sample.name.removeprefix("llmservice_upstream_") + sample.labels.get("result", ""): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("llmservice_upstream_") and "le" not in sample.labels
    }


def test_attempts_retries_and_first_bytes_are_counted_and_a_failing_engine_is_seen(
    client: Client, engine: ScriptedEngine
) -> None:
    with connecting(engine) as connect:
        backend = connect(failures=1, pause_s=60.0)
        runtime.install(backend)
        try:
            before = series(client)
            engine.answers[COMPLETIONS] = stream(*TWO)
            submit(backend, request()).result(WAIT_S)
            engine.answers[COMPLETIONS] = error(429, "Slow down.")
            with pytest.raises(EngineError):
                submit(backend, request()).result(WAIT_S)
            answered = series(client)
            engine.answers[COMPLETIONS] = drops
            with pytest.raises(EngineError):
                submit(backend, request()).result(WAIT_S)
            failed = series(client)
        finally:
            runtime.stop()

    def grown(name: str) -> float:
        return answered[name] - before[name]

    assert grown("attempts_totalanswered") == grown("attempts_totaloverloaded") == 1
    assert grown("first_byte_seconds_count") == 1
    assert (answered["cut_off"], failed["cut_off"]) == (0, 1)
    assert failed["attempts_totalunavailable"] > answered["attempts_totalunavailable"]


def test_an_attempt_that_follows_another_is_a_retry(client: Client, engine: ScriptedEngine) -> None:
    engine.answers[COMPLETIONS] = each_in_turn(drops, stream(*TWO))
    with connecting(engine) as connect:
        backend = connect()
        runtime.install(backend)
        try:
            before = series(client)
            submit(backend, request()).result(WAIT_S)
            after = series(client)
        finally:
            runtime.stop()

    assert after["retries_total"] - before["retries_total"] == 1
    assert after["attempts_totalanswered"] - before["attempts_totalanswered"] == 1
