"""The way of a text's events to its client."""

from inference.engine.generation import Event, Generation


class Publisher:
    """Publishes the events of one text as they come, or together at its end.

    Args:
        generation: the client's view of the request.
        holds_back: the text may turn out not to fit once it is finished, and another one be drawn.
    """

    def __init__(self, generation: Generation, *, holds_back: bool) -> None:
        self._generation = generation
        self._holds_back = holds_back
        self._held: list[Event] = []

    @property
    def begun(self) -> bool:
        """Whether an event with a token has come, published or held back."""
        return bool(self._generation.completion_tokens or self._held)

    def add(self, event: Event, *, now: float) -> None:
        """Take the next event; one with a reason to finish is the last."""
        self._held.append(event)
        if self._holds_back and event.finish_reason is None:
            return
        for one in self._held:
            self._generation.publish(one, now=now)
        self._held.clear()

    def clear(self) -> None:
        """Forget the events held back: another text begins."""
        self._held.clear()
