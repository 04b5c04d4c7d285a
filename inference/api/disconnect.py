"""Cancels a generation whose client has left: nobody would read the rest."""

from collections.abc import Callable

from rest_framework.request import Request

from inference.engine.generation import Completion, Generation

CHECK_EVERY_S = 0.5


def result_for(request: Request, generation: Generation) -> Completion:
    """Wait for the text, and cancel it once the request's client has closed its connection.

    Raises:
        Cancelled: the client has closed its connection.
        EngineError: as `Generation.result`.
    """
    while True:
        try:
            return generation.result(CHECK_EVERY_S)
        except TimeoutError:
            if is_gone(request):
                generation.cancel()
                return generation.result()


def is_gone(request: Request) -> bool:
    """Whether the client has closed its connection; other servers than `llmservice.server` do not say."""
    client_gone: Callable[[], bool] | None = request.META.get("llmservice.client_gone")
    return client_gone is not None and client_gone()
