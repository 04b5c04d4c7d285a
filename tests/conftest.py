"""What all tests share: the quick-start model, and the rule for tests that need PostgreSQL."""

import os
from pathlib import Path

import psycopg
import pytest

from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

POSTGRES_URLS = (
    "postgres://llmservice:llmservice@127.0.0.1:5432/llmservice",
    "postgres://postgres@127.0.0.1:5432/postgres",
)
IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session")
def quickstart_model() -> Path:
    """The folder of the quick-start model; kept with the repository, since it takes a minute to make."""
    return ensure_model(BASE_DIR / "var", print)


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The URL of the PostgreSQL server that the tests may use; without one they are skipped, but not in CI.

    `TEST_POSTGRES_URL` says another than those on this machine. Its user has to be allowed to make databases.
    """
    given = os.environ.get("TEST_POSTGRES_URL")
    for url in [given] if given else POSTGRES_URLS:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            continue
        return url
    if IN_CI:
        pytest.fail("No PostgreSQL server lets the tests in, and in CI one has to: set TEST_POSTGRES_URL.")
    pytest.skip("no PostgreSQL server lets the tests in")
