"""What the engine's errors mean for a client, for the log, and for the account of the key."""

from accounts.models import Outcome
from inference.api.openai.errors import ModelNotFound, NotStored
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    EngineError,
    Interrupted,
    InvalidChat,
    InvalidGrammar,
    NoFittingText,
    Overloaded,
    PromptTooLong,
    TokenWithoutEmbedding,
    Unavailable,
    UnknownToken,
    UpstreamRefused,
)
from llmservice.http.codes import CLIENT_CLOSED, Code
from llmservice.http.problems import Meaning

MODEL_NOT_FOUND = Code("model_not_found", 404, "The service serves another model than the one named.")
RESPONSE_NOT_STORED = Code("response_not_stored", 404, "The service stores no responses of `/v1/responses`.")
PROMPT_EMPTY = Code("prompt_empty", 422, "The model's tokenizer finds no tokens in the prompt.")
PROMPT_TOKEN = Code("prompt_token", 422, "The prompt contains a token that the model cannot compute.")
PROMPT_TOO_LONG = Code("prompt_too_long", 422, "Prompt and `max_new_tokens` exceed the model's context.")
UNKNOWN_TOKEN = Code("unknown_token", 422, "A field names a token id that the model does not have.")
INVALID_CHAT = Code("invalid_chat", 422, "The model's chat template cannot lay out the conversation.")
INVALID_GRAMMAR = Code("invalid_grammar", 422, "The schema, pattern or grammar cannot be enforced.")
UPSTREAM_REFUSED = Code(
    "upstream_refused", 422, "The engine behind the service does not take a field, or its value."
)
NO_FITTING_TEXT = Code("no_fitting_text", 422, "None of the texts drawn fits the schema.")
OVERLOADED = Code("overloaded", 503, "The queue is full, or the text would not be complete in time.")
UNAVAILABLE = Code("unavailable", 503, "The model is loading, or the service is shutting down.")
INTERRUPTED = Code("interrupted", 503, "The service stopped before the text was complete.")
TIME_LIMIT = Code("time_limit", 504, "The text was not complete within `LLM_REQUEST_TIMEOUT_S`.")
GENERATION_FAILED = Code("generation_failed", 500, "The model failed on this request.")

MEANINGS: dict[type[Exception], Meaning] = {
    ModelNotFound: Meaning(code=MODEL_NOT_FOUND),
    NotStored: Meaning(code=RESPONSE_NOT_STORED),
    EmptyPrompt: Meaning(code=PROMPT_EMPTY, field="prompt"),
    TokenWithoutEmbedding: Meaning(code=PROMPT_TOKEN, field="prompt"),
    UnknownToken: Meaning(code=UNKNOWN_TOKEN),
    PromptTooLong: Meaning(code=PROMPT_TOO_LONG, field="prompt"),
    InvalidChat: Meaning(code=INVALID_CHAT, field="messages"),
    InvalidGrammar: Meaning(code=INVALID_GRAMMAR),
    UpstreamRefused: Meaning(code=UPSTREAM_REFUSED),
    NoFittingText: Meaning(code=NO_FITTING_TEXT),
    Overloaded: Meaning(code=OVERLOADED, outcome=Outcome.OVERLOADED),
    Unavailable: Meaning(code=UNAVAILABLE, outcome=Outcome.OVERLOADED),
    Interrupted: Meaning(code=INTERRUPTED, outcome=Outcome.FAILED),
    DeadlineExceeded: Meaning(code=TIME_LIMIT, outcome=Outcome.TIMED_OUT),
    Cancelled: Meaning(
        code=CLIENT_CLOSED,
        outcome=Outcome.CANCELLED,
        detail="The client closed the connection.",
    ),
    EngineError: Meaning(code=GENERATION_FAILED, outcome=Outcome.FAILED, fault=True),
}
