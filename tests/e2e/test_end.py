"""How the service ends on a signal: what runs is answered, and nothing is left behind."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import NO_CERTIFICATES, Service, StartService
from tests.interruptible import interruptible
from tests.sse import parse


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_cleanly(
    start_service: StartService, tmp_path: Path, number: signal.Signals
) -> None:
    with interruptible():
        started = start_service(TMPDIR=str(tmp_path))
    started.wait_ready()
    assert len(list(tmp_path.glob("llmservice-metrics-*"))) == 1

    started.process.send_signal(number)

    assert started.stop() == 0
    assert not list(tmp_path.glob("llmservice-metrics-*"))
    assert "Traceback" not in started.log.read_text()
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{started.url}/health")


def test_running_requests_are_answered_and_streams_finished_after_sigterm(
    start_service: StartService, quickstart_model: Path
) -> None:
    started = start_service(LLM_MODEL=str(quickstart_model), LLM_MAX_RUNNING="2", LLM_MAX_QUEUED="0")
    started.wait_ready()
    body = {"prompt": "Once upon a time", "seed": 1}
    client = httpx.Client(headers={"X-API-Key": started.key}, timeout=60, verify=NO_CERTIFICATES)

    def generate(max_new_tokens: int) -> httpx.Response:
        return httpx.post(
            f"{started.url}/generate",
            headers={"X-API-Key": started.key},
            json={**body, "max_new_tokens": max_new_tokens},
            timeout=60,
            verify=NO_CERTIFICATES,
        )

    streaming = client.stream(
        "POST", f"{started.url}/generate", json={**body, "max_new_tokens": 200, "stream": True}
    )
    with client, streaming as stream, ThreadPoolExecutor(1) as pool:
        events = parse(stream.iter_lines())
        next(events)
        long = pool.submit(generate, 100)
        # Once two others are refused it runs: a single refusal may come while the slot is being freed.
        while not all(generate(1).status_code == 503 for _ in range(2)) or long.done():
            if long.done():
                long = pool.submit(generate, 100)
        started.process.send_signal(signal.SIGTERM)
        while not refused(started):
            pass
        assert list(events)[-1].name == "done"
        assert started.stop() == 0
        answer = long.result()

    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] > 1


def refused(service: Service) -> bool:
    """Whether a new connection is refused; raises if it hangs instead."""
    try:
        httpx.get(f"{service.url}/health", timeout=20, verify=NO_CERTIFICATES)
    except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
        return isinstance(error, httpx.ConnectError)
    return False
