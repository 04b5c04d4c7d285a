"""The benchmark of keys runs to its end at a toy size, with more than one process; how fast, no test says."""

import json
from pathlib import Path

import pytest

from benchmarks import keys


@pytest.mark.slow
@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_it_runs_to_its_end(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "keys.json"
    options = ["--requests", "3", "--processes", "2", "--keys", "each", "--out", str(out)]
    if server == "postgresql":
        options += ["--postgres", request.getfixturevalue("postgres_url")]
    keys.main(options)
    measured = json.loads(out.read_text())["milliseconds"]
    assert set(measured) == {"SQLite"} | ({"PostgreSQL"} if server == "postgresql" else set())
    for by_processes in measured.values():
        assert all(parts["p50"] > 0 for parts in by_processes["2"].values())
    assert all(rates["2"]["a second"] > 0 for rates in json.loads(out.read_text())["rates"].values())
    assert "together, ms" in capsys.readouterr().out
