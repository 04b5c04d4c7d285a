"""The benchmarks over HTTP and of the start run to their end, on the real gunicorn with a tiny model."""

import json
from pathlib import Path

import pytest

from benchmarks import startup
from benchmarks.http import streaming
from benchmarks.http.__main__ import main as benchmark_http
from tests.models import save_tiny_model


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "tiny")


def test_http_runs_to_its_end(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "http.json"
    options = ["--clients", "1", "2", "--seconds", "1", "--rounds", "1", "--words", "3", "--new-tokens", "4"]
    benchmark_http(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])

    result = json.loads(out.read_text())
    assert result["paths"]["llmservice"].startswith("on the CPU")
    services = result["services"]
    assert set(services) == {"engine, no HTTP", "thread pool", "llmservice"}
    for name in ("thread pool", "llmservice"):
        for clients in ("1", "2"):
            (measured,) = services[name][clients]
            assert measured["errors"] == 0
            assert measured["answers"] > 0
            assert measured["tokens_per_s"] > 0
            assert measured["health_s_p99"] > 0
    assert "llmservice" in capsys.readouterr().out


def test_streaming_runs_to_its_end(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "streaming.json"
    options = ["--streams", "2", "--new-tokens", "12", "--words", "3", "--rounds", "2"]
    streaming.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])
    rounds = json.loads(out.read_text())["rounds"]
    assert len(rounds) == 2
    for found in rounds:
        assert found["streamed_to_unstreamed"] == pytest.approx(
            found["streamed_tokens_per_s"] / found["unstreamed_tokens_per_s"]
        )
        assert found["gap_p99_steps"] >= 1
        assert found["first_event_steps"] > 0
    assert "first event on the idle engine, steps" in capsys.readouterr().out


def test_startup_runs_to_its_end(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "startup.json"
    options = ["--precision", "float32", "--rounds", "1"]
    startup.main(["--model", str(tiny_model), "--threads", "1", "--out", str(out), *options])
    result = json.loads(out.read_text())
    assert result["paths"]["float32"].startswith("on the CPU")
    (start,) = result["starts"]["float32"]
    assert start["ready_s"] > 0
    assert start["peak_bytes"] >= start["ready_bytes"] * 0.5 > 0
