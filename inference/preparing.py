"""What a backend checks of a request before its key's limits are reserved for it."""

from accounts.limits import tally, unreserved
from accounts.models import APIKey, Outcome
from inference.engine.backend import Backend
from inference.engine.errors import Overloaded, Unavailable
from inference.engine.request import GenerationRequest, PreparedRequest


def prepared(request: GenerationRequest, *, key: APIKey, backend: Backend) -> PreparedRequest:
    """The request, checked by the backend.

    A grammar may take seconds to compile, so a key without a request left is refused before.

    Raises:
        Overloaded, Unavailable: the backend has no room for it.
        EmptyPrompt, TokenWithoutEmbedding, PromptTooLong, InvalidChat, InvalidGrammar: it can never be
            generated.
        LimitExceeded: the key has no request left.
    """
    # At once: it refuses most requests when there are too many.
    check_room(key, backend, count=1)
    if request.grammar is not None:
        unreserved.check(key)
    return backend.prepare(request)


def check_room(key: APIKey, backend: Backend, *, count: int) -> None:
    """Raises Overloaded or Unavailable: the backend has no room for so many texts; the request is counted."""
    try:
        backend.check_room(str(key.pk), count=count)
    except (Overloaded, Unavailable):
        tally.count(key.pk, Outcome.OVERLOADED)
        raise
