"""What the engine's errors mean for a client, for the log, and for the account of the key."""

from accounts.models import Outcome
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    EngineError,
    Interrupted,
    InvalidChat,
    Overloaded,
    PromptTooLong,
    TokenWithoutEmbedding,
    Unavailable,
    UnknownToken,
)
from llmservice.http.problems import CLIENT_CLOSED_REQUEST, Meaning

MEANINGS: dict[type[Exception], Meaning] = {
    EmptyPrompt: Meaning(status=422, reason="invalid", field="prompt"),
    TokenWithoutEmbedding: Meaning(status=422, reason="invalid", field="prompt"),
    UnknownToken: Meaning(status=422, reason="invalid"),
    PromptTooLong: Meaning(status=422, reason="invalid", field="prompt"),
    InvalidChat: Meaning(status=422, reason="invalid", field="messages"),
    Overloaded: Meaning(status=503, reason="overloaded", outcome=Outcome.OVERLOADED),
    Unavailable: Meaning(status=503, reason="unavailable", outcome=Outcome.OVERLOADED),
    Interrupted: Meaning(status=503, reason="unavailable", outcome=Outcome.FAILED),
    DeadlineExceeded: Meaning(status=504, reason="deadline", outcome=Outcome.TIMED_OUT),
    Cancelled: Meaning(
        status=CLIENT_CLOSED_REQUEST,
        reason="disconnected",
        outcome=Outcome.CANCELLED,
        detail="The client closed the connection.",
    ),
    EngineError: Meaning(status=500, reason="failed", outcome=Outcome.FAILED, fault=True),
}
