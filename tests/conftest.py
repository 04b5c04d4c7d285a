"""What all tests share: the quick-start model, PostgreSQL, and how they are divided among processes."""

import gc
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from _pytest.nodeid import NodeId
from django.test import Client

from inference.engine.grammar import trial
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

if TYPE_CHECKING:
    from inference.engine.engine import Engine

POSTGRES_URLS = (
    "postgres://llmservice:llmservice@127.0.0.1:5432/llmservice",
    "postgres://postgres@127.0.0.1:5432/postgres",
)
IN_CI = os.environ.get("CI") == "true"
E2E = BASE_DIR / "tests" / "e2e"
# Fixtures of services that tests of several files share.
SHARED_SERVICES = ("chatting_service", "service")

# Until all tests are collected: it would find nothing.
gc.disable()

# PyTorch's threads wait for each other by spinning. The service shortens this wait as well: several test
# processes share the cores.
os.environ.setdefault("GOMP_SPINCOUNT", "30000")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow tests that are told by where they are or what they use, and group the tests by process.

    One process runs the tests that share a service; all others are grouped by file, because fixtures serve a
    whole file. The groups that take longest come first, so that at the end no process is alone with
    one of them: those that start services, beginning with the shared one.
    """
    for item in items:
        if _end_to_end(item) or "quickstart_model" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=_turn)
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            # xdist reads the group from the id. Its own mark for that writes an attribute that pytest 9.2 no
            # longer reads, without a word: every test was a group by itself.
            item._id = NodeId.parse(f"{item.nodeid}@{_group(item)}")


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from what has been imported, which took a quarter of a test's time."""
    # pytest adds its handlers, three times a test, to loggers that propagate nothing: to PyTorch's sixty.
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "torch" and isinstance(logger, logging.Logger):
            logger.propagate = True
    gc.collect()
    gc.freeze()
    gc.enable()


def _end_to_end(item: pytest.Item) -> bool:
    return E2E in item.path.parents


def _group(item: pytest.Item) -> str:
    used = getattr(item, "fixturenames", ()) if _end_to_end(item) else ()
    shared = next((name for name in SHARED_SERVICES if name in used), None)
    return shared or str(item.path.relative_to(BASE_DIR))


def _turn(item: pytest.Item) -> int:
    """When the test's group is given to a process."""
    group = _group(item)
    if group in SHARED_SERVICES:
        return SHARED_SERVICES.index(group)
    return len(SHARED_SERVICES) + (0 if _end_to_end(item) else 1)


@pytest.fixture(scope="session", autouse=True)
def _patient_trials() -> None:
    """Let a grammar wait long for a CPU: the tests keep all of them busy, and compiling is nice."""
    trial._LONGEST_WAIT = 60.0


@pytest.fixture(scope="session")
def quickstart_model() -> Path:
    """The folder of the quick-start model; kept with the repository, since it takes a minute to make."""
    return ensure_model(BASE_DIR / "var", print)


@pytest.fixture(scope="session")
def quickstart_weights() -> Path:
    """The folder of its packed weights; kept as well, since packing takes as long as the rest of a start."""
    folder = BASE_DIR / "var" / "test-weights"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def quickstart_engine(quickstart_model: Path, quickstart_weights: Path) -> "Iterator[Engine]":
    """An engine with the quick-start model, as the service starts it."""
    from inference.engine.config import EngineConfig
    from inference.engine.loader import load_engine

    config = EngineConfig(kv_cache_tokens=2048)
    engine = load_engine(
        quickstart_model, name="quickstart", config=config, packed_weights=quickstart_weights
    )
    yield engine
    engine.stop()


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


@pytest.fixture(scope="module")
def engine() -> "Iterator[Engine]":
    """An engine with a tiny model, which the service serves."""
    # Imported here: most tests need no torch, which takes seconds.
    from inference import runtime
    from tests.models import tiny_engine

    engine = tiny_engine()
    runtime.install(engine)
    yield engine
    runtime.stop()


@pytest.fixture
def key(db: None) -> str:
    """The secret of a key without limits."""
    from accounts import services

    return services.create_key(name="tests").plaintext


@pytest.fixture
def generate(client: Client, key: str, engine: "Engine") -> Callable[..., Any]:
    """Posts a body to `/generate`, as JSON unless it is text already, with a valid key and other headers."""

    def post(body: Any, **headers: str) -> Any:
        return client.post(
            "/generate",
            body if isinstance(body, str | bytes) else json.dumps(body),
            content_type=headers.pop("content_type", "application/json"),
            headers={"X-API-Key": key, **headers},
        )

    return post


@pytest.fixture(scope="module")
def chat_engine() -> "Iterator[Engine]":
    """As `engine`, with a token for every byte and a chat template."""
    from inference import runtime
    from inference.engine.config import EngineConfig
    from tests.models import byte_tokenizer, tiny_engine
    from tests.openai_api import TEMPLATE

    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096), tokenizer=tokenizer)
    runtime.install(engine)
    yield engine
    runtime.stop()


@pytest.fixture(scope="module")
def engine_with() -> "Iterator[Callable[..., Engine]]":
    """Engines by their chat template and special token, each made once for a whole file."""
    from inference import runtime
    from tests import openai_tools

    made: dict[tuple[str, ...], Engine] = {}

    def engine(*told: str) -> "Engine":
        if told not in made:
            made[told] = openai_tools.engine_with(*told)
        return made[told]

    yield engine
    for one in made.values():
        runtime.install(one)
        runtime.stop()


@pytest.fixture
def call(client: Client, key: str, chat_engine: "Engine") -> Callable[..., Any]:
    """Posts a body to a path under `/v1/`, for the served model and with a valid key."""

    def post(path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": chat_engine.model_name, **body}
        return client.post(f"/v1/{path}", json.dumps(body), content_type="application/json", headers=headers)

    return post
