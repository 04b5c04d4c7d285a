"""Cancels a generation whose client has left: nobody would read the rest."""

from collections.abc import Callable

from rest_framework.request import Request

from inference.engine.request import Completion, Generation

CHECK_EVERY_S = 0.5


def result_for(request: Request, generation: Generation) -> Completion:
    """Wait for the text, and cancel it once the request's client has closed its connection.

    Raises:
        Cancelled: the client has closed its connection.
        EngineError: as `Generation.result`.
    """
    # The server's own; other servers do not say.
    client_gone: Callable[[], bool] | None = request.META.get("llmservice.client_gone")
    while client_gone is not None:
        try:
            return generation.result(CHECK_EVERY_S)
        except TimeoutError:
            if client_gone():
                generation.cancel()
                break
    return generation.result()
