"""Streams over real HTTP: gunicorn, a database, the quick-start model."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Service
from tests.sse import ServerSentEvent, parse, pieces

LONG = {"prompt": "Once upon a time", "max_new_tokens": 200, "seed": 1}


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers={"X-API-Key": service.key}, timeout=120) as client:
        yield client


@contextmanager
def streamed(client: httpx.Client, **body: Any) -> Iterator[Iterator[ServerSentEvent]]:
    with client.stream("POST", "/generate", json={**body, "stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        yield parse(response.iter_lines())


def test_pieces_arrive_while_the_rest_is_generated(client: httpx.Client, service: Service) -> None:
    key = service.create_key("streams", "--max-concurrent", "2")
    with httpx.Client(base_url=service.url, headers={"X-API-Key": key}, timeout=120) as own:
        with streamed(own, **LONG) as events:
            assert next(events).name == "text"
            assert own.get("/keys/me").json()["today"]["reserved_tokens"] > 0
            rest = list(events)
        assert rest[-1].name == "done"
        today = own.get("/keys/me").json()["today"]
    assert today["reserved_tokens"] == 0
    assert today["completion_tokens"] == rest[-1].data["usage"]["completion_tokens"]


def test_sixteen_streams_at_once_are_the_texts_that_come_unstreamed(client: httpx.Client) -> None:
    bodies = [{"prompt": f"Number {i}:", "max_new_tokens": 16, "seed": i} for i in range(16)]

    def together(body: dict[str, Any]) -> tuple[str, Any]:
        with streamed(client, **body) as events:
            found = list(events)
        return pieces(found), found[-1].data

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(together, bodies))
    for body, (text, answer) in list(zip(bodies, answers, strict=True))[::3]:
        assert answer == client.post("/generate", json=body).json()
        assert text == answer["completion"]


def test_a_client_that_leaves_a_stream_pays_for_what_was_generated(service: Service) -> None:
    key = service.create_key("leaves")
    with httpx.Client(base_url=service.url, headers={"X-API-Key": key}, timeout=120) as client:
        with streamed(client, **LONG) as events:
            next(events)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            today = client.get("/keys/me").json()["today"]
            if sum(today["requests"].values()) == 1:
                break
            time.sleep(0.05)
    assert today["requests"]["cancelled"] == 1
    assert today["reserved_tokens"] == 0
    assert 0 < today["completion_tokens"] < 200
