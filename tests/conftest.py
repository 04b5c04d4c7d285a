"""What all tests share: the quick-start model, and the rule for tests that need PostgreSQL."""

import os
import socket
from pathlib import Path

import pytest

from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

POSTGRES = ("127.0.0.1", 5432)
IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def quickstart_model() -> Path:
    """The folder of the quick-start model; kept with the repository, since it takes a minute to make."""
    return ensure_model(BASE_DIR / "var", print)


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The URL of the PostgreSQL server that the tests may use; without one they are skipped, but not in CI.

    `TEST_POSTGRES_URL` says another than the one on this machine with user, password and name `llmservice`.
    """
    given = os.environ.get("TEST_POSTGRES_URL")
    if given:
        return given
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(POSTGRES) == 0:
            return "postgres://llmservice:llmservice@{}:{}/llmservice".format(*POSTGRES)
    if IN_CI:
        pytest.fail("PostgreSQL does not answer on {}:{}, and in CI it has to.".format(*POSTGRES))
    pytest.skip("PostgreSQL does not answer on {}:{}".format(*POSTGRES))
