"""What a stream costs its key, wherever its client stops reading; with a real, tiny engine."""

from collections.abc import Iterator

import pytest

from accounts import services
from accounts.models import APIKey
from inference.engine.engine import Engine
from inference.metering import Metered
from tests.metering import PROMPT_TOKENS, account, request
from tests.models import tiny_engine

pytestmark = pytest.mark.django_db


@pytest.fixture
def running_engine() -> Iterator[Engine]:
    engine = tiny_engine()
    yield engine
    engine.stop()


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", limits={"tokens_per_day": 10_000}).key


def test_a_stream_that_is_never_started_is_settled_when_it_is_closed(
    running_engine: Engine, key: APIKey
) -> None:
    one = Metered(key=key, backend=running_engine, requests=[request(200)])
    one.admit()
    events = one.events()
    for _ in range(3):
        one.close()
    assert one.generations[0].done
    outcome, prompt_tokens, completion_tokens = account()
    assert outcome in {"cancelled", "finished"}
    generation = one.generations[0]
    used = (generation.computed_prompt_tokens, generation.completion_tokens)
    assert (prompt_tokens, completion_tokens) == used
    events.close()
    assert account() == (outcome, prompt_tokens, completion_tokens)


def test_a_stream_that_its_client_leaves_is_cancelled(running_engine: Engine, key: APIKey) -> None:
    one = Metered(key=key, backend=running_engine, requests=[request(200)])
    one.admit()
    events = one.events()
    next(events)
    events.close()
    assert one.generations[0].done
    assert account()[0] == "cancelled"


def test_a_stream_that_is_read_to_its_end_is_settled_there(running_engine: Engine, key: APIKey) -> None:
    one = Metered(key=key, backend=running_engine, requests=[request(5)])
    one.admit()
    assert sum(len(item[1].token_ids) for item in one.events() if item is not None) == 5
    assert account() == ("finished", PROMPT_TOKENS, 5)
