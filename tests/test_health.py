"""`GET /health` and `GET /ready`, in every state of the model."""

import pytest
from django.test import Client

from inference import runtime
from inference.engine.errors import Unavailable
from inference.runtime import State, Status
from tests.models import tiny_engine

RUNNING = {"status": "ok", "message": "Service is running"}


@pytest.fixture
def in_state(monkeypatch: pytest.MonkeyPatch) -> object:
    """Puts the model in a state, as far as the rest of the service can tell."""

    def put(state: State, reason: str) -> None:
        def engine() -> None:
            raise Unavailable(reason)

        monkeypatch.setattr(runtime, "status", lambda: Status(state, reason))
        monkeypatch.setattr(runtime, "backend", engine)

    return put


def test_a_ready_service_is_healthy_and_names_its_model(client: Client) -> None:
    runtime.install(tiny_engine())
    try:
        health, ready = client.get("/health"), client.get("/ready")
        name = runtime.backend().model_name
    finally:
        runtime.stop()
    assert (health.status_code, health.json()) == (200, RUNNING)
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "model": name})


@pytest.mark.parametrize("state", [State.LOADING, State.DRAINING, State.STOPPED])
def test_a_service_that_can_not_generate_now_is_healthy_but_not_ready(
    client: Client, in_state: object, state: State
) -> None:
    in_state(state, "Not now, because.")  # type: ignore[operator]
    health, ready = client.get("/health"), client.get("/ready")
    assert (health.status_code, health.json()) == (200, RUNNING)
    assert ready.status_code == 503
    assert ready["Content-Type"] == "application/problem+json"
    assert ready.json()["detail"] == "Not now, because."
    assert int(ready["Retry-After"]) > 0


def test_a_dead_engine_is_an_error_with_its_reason(client: Client, in_state: object) -> None:
    in_state(State.DEAD, "The engine's thread has ended.")  # type: ignore[operator]
    health = client.get("/health")
    assert health.status_code == 503
    assert health.json() == {"status": "error", "message": "The engine's thread has ended."}
    assert client.get("/ready").status_code == 503


def test_health_asks_no_database(client: Client) -> None:
    # Without the `db` fixture pytest-django fails a test that touches the database.
    assert client.get("/health", headers={"X-API-Key": "nonsense"}).status_code == 200


def test_health_can_be_asked_by_head(client: Client) -> None:
    assert client.head("/health").status_code == 200
