"""A request on its way to the upstream engine."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from inference.engine.errors import EngineError
from inference.engine.generation import Completion, Generation
from inference.engine.request import PreparedRequest
from inference.engine.upstream.body import Call
from inference.engine.upstream.reader import AnswerReader


class UpstreamGeneration(Generation):
    """A generation that ends at once when its client cancels it: no step comes that would look."""

    def __init__(
        self, prepared: PreparedRequest, *, submitted_at: float, on_cancel: Callable[[], None]
    ) -> None:
        super().__init__(prepared, submitted_at=submitted_at)
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        super().cancel()
        self._on_cancel()


@dataclass(eq=False, kw_only=True)
class Job:
    """A request, from its submission to its end; all but its making happens in the event loop.

    Attributes:
        headers: what the engine is told of the request that it belongs to.
        admitted: done when it may run; failed when it has lost its place.
        admitted_at: when it was; None before.
        reader: of the attempt that runs, or ran last.
        published: its client may have seen something of it.
        task: what runs it.
    """

    prepared: PreparedRequest
    call: Call
    headers: Mapping[str, str]
    generation: UpstreamGeneration = field(init=False)
    admitted: asyncio.Future[None] = field(init=False)
    admitted_at: float | None = None
    reader: AnswerReader | None = None
    published: bool = False
    task: asyncio.Task[Completion] | None = None

    @property
    def owner(self) -> str:
        return self.prepared.request.owner

    def admit(self) -> None:
        """It may run, and counts as running."""
        self.admitted_at = time.monotonic()
        if not self.admitted.done():
            self.admitted.set_result(None)

    def begin_again(self) -> None:
        """Forget what its last attempt has published; nobody has read it."""
        if self.published:
            self.published = False
            self.generation.restart()

    def drop(self, error: EngineError) -> None:
        """It has lost its place."""
        if not self.admitted.done():
            self.admitted.set_exception(error)
