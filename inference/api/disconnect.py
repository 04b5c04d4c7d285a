"""Cancels generations whose client has left: nobody would read the rest."""

import threading
from collections.abc import Callable, Sequence

from rest_framework.request import Request

from inference.engine.generation import Completion, Generation

CHECK_EVERY_S = 0.5


def result_for(request: Request, generation: Generation) -> Completion:
    """The text of one generation, as `results_for`."""
    [completion] = results_for(request, [generation])
    return completion


def results_for(request: Request, generations: Sequence[Generation]) -> list[Completion]:
    """Wait for all texts or the first failure; cancel them once the client has closed its connection.

    Raises:
        Cancelled: the client has closed its connection.
        EngineError: how the first of them failed; the others may still run.
    """
    ended = threading.Event()

    def listener(generation: Generation) -> Callable[[], None]:
        # This thread is not woken for every token.
        return lambda: ended.set() if generation.done else None

    listeners = [(generation, listener(generation)) for generation in generations]
    for generation, listen in listeners:
        generation.listen(listen)
    try:
        running = list(generations)
        while running:
            ended.clear()
            for generation in [one for one in running if one.done]:
                generation.result()
                running.remove(generation)
            if running and not ended.wait(CHECK_EVERY_S) and is_gone(request):
                for generation in running:
                    generation.cancel()
    finally:
        for generation, listen in listeners:
            generation.unlisten(listen)
    return [generation.result() for generation in generations]


def is_gone(request: Request) -> bool:
    """Whether the client has closed its connection; other servers than `llmservice.server` do not say."""
    client_gone: Callable[[], bool] | None = request.META.get("llmservice.client_gone")
    return client_gone is not None and client_gone()
