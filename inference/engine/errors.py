"""What can go wrong between a request and its text; every message is fit to be shown to a client."""

from collections.abc import Iterable

_NAMED_AT_MOST = 4


class EngineError(Exception):
    """The base of all errors of a backend."""


class PromptTooLong(EngineError):
    """Prompt and new tokens together exceed what one request may use."""

    def __init__(
        self, *, prompt_tokens: int, max_new_tokens: int, limit: int, at_least: bool = False
    ) -> None:
        self.prompt_tokens, self.max_new_tokens, self.limit = prompt_tokens, max_new_tokens, limit
        self.at_least = at_least
        bound = "at least " if at_least else ""
        super().__init__(
            f"The prompt has {bound}{prompt_tokens} tokens and max_new_tokens asks for {max_new_tokens} "
            f"more: {bound}{prompt_tokens + max_new_tokens} in total, and at most {limit} fit."
        )


class EmptyPrompt(EngineError):
    """The prompt has no tokens, so there is nothing to continue."""

    def __init__(self) -> None:
        super().__init__("This model's tokenizer finds no tokens in the prompt.")


class InvalidChat(EngineError):
    """The model's chat template cannot lay out the conversation, or the model has no template."""


class TokenWithoutEmbedding(EngineError):
    """The prompt contains a token that the tokenizer has but the model does not."""

    def __init__(self, token: str) -> None:
        super().__init__(f"The prompt contains {token}, a token for which this model has no embedding.")


class UnknownToken(EngineError):
    """A field of the request names a token that the model does not have."""

    def __init__(self, field: str, token_id: int, *, vocabulary_size: int) -> None:
        self.field = field
        super().__init__(
            f"{field} names token {token_id}, and this model has the tokens 0 to {vocabulary_size - 1}."
        )


class InvalidGrammar(EngineError):
    """What the text is to fit cannot be enforced.

    Attributes:
        field: the field of the request and the place in it.
    """

    def __init__(self, field: str, path: str, reason: str) -> None:
        self.field = field + path.removeprefix("$")
        super().__init__(f"{path}: {reason}" if path != "$" else f"{reason[:1].upper()}{reason[1:]}.")


class NoFittingText(EngineError):
    """No text that the model wrote fits what was asked for."""


class Overloaded(EngineError):
    """The queue was full: the request was refused, or lost its turn to an owner with fewer waiting."""

    def __init__(self, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        unit = "second" if retry_after_s == 1 else "seconds"
        super().__init__(f"The service is at capacity; try again in {retry_after_s} {unit}.")


class Unavailable(EngineError):
    """The backend accepts no requests: it is loading, draining, stopped or dead."""


class Interrupted(Unavailable):
    """The backend stopped before it had finished the request."""


class DeadlineExceeded(EngineError):
    """The request's time limit passed while it was waiting or running."""

    def __init__(self) -> None:
        super().__init__("The request exceeded its time limit and was stopped.")


class UpstreamSilent(DeadlineExceeded):
    """The upstream engine took longer than it may."""

    def __init__(self, message: str) -> None:
        EngineError.__init__(self, message)


class Cancelled(EngineError):
    """The client cancelled the request."""

    def __init__(self) -> None:
        super().__init__("The request was cancelled.")


class GenerationFailed(EngineError):
    """The model could not compute this request; others are not affected."""


class UpstreamRefused(EngineError):
    """The upstream engine does not have a field of the request, or does not accept its value.

    Attributes:
        field: its name, as far as it is known.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        self.field = field
        super().__init__(message)


class ModelUnavailable(EngineError):
    """The model cannot be found, read or run here; the message says why and what to do."""


def listed(names: Iterable[str]) -> str:
    """The first few names for a message, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
