"""What can go wrong between a request and its text; each message is fit to be shown to the client."""

from collections.abc import Iterable

_NAMED_AT_MOST = 4


class EngineError(Exception):
    """Base of all errors of the engine."""


class PromptTooLong(EngineError):
    """Prompt and new tokens together exceed what one request may use."""

    def __init__(self, *, prompt_tokens: int, max_new_tokens: int, limit: int) -> None:
        self.prompt_tokens, self.max_new_tokens, self.limit = prompt_tokens, max_new_tokens, limit
        super().__init__(
            f"The prompt has {prompt_tokens} tokens and max_new_tokens asks for {max_new_tokens} more: "
            f"together {prompt_tokens + max_new_tokens}, and at most {limit} fit."
        )


class EmptyPrompt(EngineError):
    """The tokenizer makes no token of the prompt, so there is nothing to continue."""

    def __init__(self) -> None:
        super().__init__("The prompt holds no token for this model.")


class TokenWithoutEmbedding(EngineError):
    """The prompt contains a token that the tokenizer has and the model has not."""

    def __init__(self, token: str) -> None:
        super().__init__(f"The prompt contains {token}, a token for which this model has no embedding.")


class Overloaded(EngineError):
    """The queue is full, or a request was pushed out of it by a key that waits for less."""

    def __init__(self, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"The service is at its limit; try again in {retry_after_s} seconds.")


class Unavailable(EngineError):
    """The engine takes no requests: it loads, drains, has stopped or has died."""


class DeadlineExceeded(EngineError):
    """The request's own time ran out, waiting or generating."""

    def __init__(self) -> None:
        super().__init__("The request took longer than its time limit and was ended.")


class Cancelled(EngineError):
    """The client gave the request up."""

    def __init__(self) -> None:
        super().__init__("The request was cancelled.")


class GenerationFailed(EngineError):
    """The model could not compute this request; others are not affected."""


class ModelUnavailable(EngineError):
    """The model cannot be had, read or run here; the message says why and what to do."""


def listed(names: Iterable[str]) -> str:
    """The first few names for a message, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
