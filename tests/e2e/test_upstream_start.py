"""A service in front of another engine, from its start without torch to its end."""

from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import StartService, free_port
from tests.scripted_engine import chunk, drops, scripted_engine, stream
from tests.waiting import wait_for

ABSENT = "{'huggingface_hub', 'llguidance', 'numpy', 'tokenizers', 'torch', 'transformers'}"
BLOCKER = f"""
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture
def without_torch(tmp_path: Path) -> str:
    """A `PYTHONPATH` with which the packages that compute models cannot be imported."""
    folder = tmp_path / "blocker"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return str(folder)


def test_it_starts_without_torch_and_follows_what_becomes_of_its_engine(
    start_service: StartService, without_torch: str
) -> None:
    port = free_port()
    service = start_service(
        LLM_BACKEND="upstream",
        LLM_UPSTREAM_URL=f"http://127.0.0.1:{port}",
        PYTHONPATH=without_torch,
    )
    client = httpx.Client(base_url=service.url, headers={"X-API-Key": service.key})
    body = {"prompt": "Hello", "top_k": 0, "max_new_tokens": 5}

    def answers(path: str, status: int) -> bool:
        try:
            return client.get(path).status_code == status
        except httpx.TransportError:
            return False

    wait_for(lambda: answers("/ready", 503) and "cannot be reached" in client.get("/ready").text)
    assert client.get("/health").status_code == 200
    assert client.post("/generate", json=body).status_code == 503

    with scripted_engine(port=port) as engine:
        wait_for(lambda: answers("/ready", 200))
        engine.answers["/v1/completions"] = stream(
            chunk("Hi", usage=(5, 1), token_ids=[1]), chunk(finish_reason="stop", usage=(5, 1))
        )
        answer = client.post("/generate", json=body)
        assert answer.json()["completion"] == "Hi"
        assert answer.json()["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        assert client.get("/").status_code == client.get("/docs").status_code == 200
        assert 'cpu_path="vllm at' in client.get("/metrics").text
        today = client.get("/keys/me").json()["today"]
        assert (today["completion_tokens"], today["reserved_tokens"]) == (1, 0)

        engine.answers["/v1/completions"] = engine.answers["/v1/models"] = engine.answers["/tokenize"] = drops
        for _ in range(5):
            failed = client.post("/generate", json=body)
            assert (failed.status_code, failed.json()["code"]) == (503, "unavailable")
            assert int(failed.headers["Retry-After"]) > 0
        assert "cannot be reached" in client.get("/ready").json()["detail"]
        assert client.get("/health").status_code == 200

        engine.answers.clear()
        wait_for(lambda: answers("/ready", 200))
    client.close()
