"""A generation within the limits of the key that asked for it, accounted for however it ends."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import DatabaseError, connection

from accounts.limits.admission import Admission, admit, settle
from accounts.models import APIKey, Outcome
from inference.engine.errors import Cancelled, DeadlineExceeded, EngineError, Overloaded, Unavailable
from inference.engine.request import Completion, Generation, GenerationRequest
from llmservice.http import request_record

if TYPE_CHECKING:
    from inference.engine.engine import Engine

# A cancelled generation ends with the engine's next step; longer than any step takes.
LAST_STEP_S = 30.0

logger = logging.getLogger(__name__)


@contextmanager
def metered(key: APIKey, engine: "Engine", request: GenerationRequest) -> Iterator[Generation]:
    """Submit a request of the key; at the end of the block it has ended, and is accounted for.

    A generation that is still running there, because nobody wants the rest, is cancelled.

    Raises:
        EmptyPrompt, TokenWithoutEmbedding, PromptTooLong: it can never be generated; it counts for nothing.
        LimitExceeded, NeverWithinLimit: the key's limits do not allow it.
        Overloaded, Unavailable: the engine has no room; it used no tokens.
    """
    engine.check(request)
    timeout_s = settings.LLM_REQUEST_TIMEOUT_S if request.timeout_s is None else request.timeout_s
    prompt_tokens = len(request.prompt_ids)
    admission = admit(key=key, tokens=prompt_tokens + request.max_new_tokens, timeout_s=timeout_s)
    _give_connection_back()
    generation: Generation | None = None
    outcome = Outcome.FAILED
    try:
        try:
            generation = engine.submit(request)
        except (Overloaded, Unavailable):
            outcome = Outcome.OVERLOADED
            raise
        yield generation
        outcome = Outcome.FINISHED if generation.done else Outcome.CANCELLED
    except Overloaded:
        outcome = Outcome.OVERLOADED
        raise
    except DeadlineExceeded:
        outcome = Outcome.TIMED_OUT
        raise
    except (Cancelled, GeneratorExit):
        outcome = Outcome.CANCELLED
        raise
    finally:
        used = generation if outcome is not Outcome.OVERLOADED else None
        tokens = {
            "prompt_tokens": prompt_tokens if used else 0,
            "completion_tokens": _completion_tokens(used) if used else 0,
        }
        _settle(admission, outcome, **tokens)
        _tell(
            outcome,
            used,
            prompt=engine.decode(request.prompt_ids) if settings.LOG_PROMPTS else None,
            **tokens,
        )


def _give_connection_back() -> None:
    """Leave the database's connection to other requests: this one waits for its text, and there are few."""
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()


def _tell(
    outcome: Outcome,
    generation: Generation | None,
    *,
    prompt: str | None,
    prompt_tokens: int,
    completion_tokens: int,
) -> None:
    """Write down for the log and the metrics how it went."""
    record = request_record.current()
    if record is None:
        return
    record.outcome = outcome.value
    record.prompt = prompt
    record.prompt_tokens, record.completion_tokens = prompt_tokens, completion_tokens
    if generation is not None:
        record.first_token_s = generation.first_token_s
        if isinstance(completion := generation.outcome, Completion):
            record.queued_s, record.generated_s = completion.queued_s, completion.generated_s


def _completion_tokens(generation: Generation) -> int:
    """How many tokens were generated, once no more are."""
    if not generation.done:
        generation.cancel()
        with suppress(EngineError, TimeoutError):
            generation.result(timeout_s=LAST_STEP_S)
    return generation.completion_tokens


def _settle(admission: Admission, outcome: Outcome, *, prompt_tokens: int, completion_tokens: int) -> None:
    try:
        settle(admission, outcome, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    except DatabaseError:
        # The text is there all the same; the reservation is given back at its deadline.
        logger.exception("The end of a request could not be written to the database.")
