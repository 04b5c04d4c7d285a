"""The upstream backend: an event loop in one thread, and a stream from the engine for each request."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import httpx2

from inference.engine.errors import EmptyPrompt, PromptTooLong, Unavailable, UpstreamRefused
from inference.engine.generation import Generation
from inference.engine.load import Load, Work
from inference.engine.request import Chat, GenerationRequest, PreparedRequest, Prompt
from inference.engine.tool_format import ToolFormat
from inference.engine.upstream.attempts import Attempts
from inference.engine.upstream.body import Call, call_of
from inference.engine.upstream.breaker import Breaker
from inference.engine.upstream.chat import shown_texts
from inference.engine.upstream.client import UpstreamClient, UpstreamFailure
from inference.engine.upstream.config import UpstreamConfig
from inference.engine.upstream.figures import UpstreamFigures
from inference.engine.upstream.job import Job
from inference.engine.upstream.model import UpstreamModel, served_model
from inference.engine.upstream.requests import UpstreamRequests
from inference.engine.upstream.tokens import UpstreamTokens, estimated_tokens
from inference.engine.upstream.tool_text import UPSTREAM_CALLS

T = TypeVar("T")

DRAINING = "The service is shutting down and accepts no new requests."
STOPPED = "The service has stopped."


class UpstreamBackend:
    """Generates text at the upstream engine; every method may be called from any thread.

    `start` comes first, then `connect`; before it has succeeded, nothing else may be called but `stop`.

    Args:
        headers: what the engine is told of the request that the calling thread answers.
        transport: replaces the network in tests.
    """

    weight_format = "upstream"

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.fingerprint: str | None = None
        self.tool_format: ToolFormat | None = UPSTREAM_CALLS
        self._config = config
        self._headers = headers
        self._transport = transport
        self._breaker = Breaker(failures=config.failures, pause_s=config.pause_s, clock=time.monotonic)
        self._figures = UpstreamFigures()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="upstream", daemon=True)
        self._model: UpstreamModel
        self._client: UpstreamClient
        self._tokens: UpstreamTokens
        self._requests: UpstreamRequests

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()
        self._client = self._wait(self._made_client())

    def connect(self) -> None:
        """Ask the engine what it serves.

        Raises:
            EngineError: it does not tell; trying again may help.
        """
        self._model = self._wait(served_model(self._client, self._config))
        dialect = self._model.dialect
        self._tokens = UpstreamTokens(self._client, dialect, model=self._model.name)
        self._requests = UpstreamRequests(
            self._config,
            Attempts(self._client, self._tokens, self._breaker, dialect, self._figures),
            self._breaker,
            loop=self._loop,
            probe=lambda: served_model(self._client, self._config),
        )

    @property
    def model_name(self) -> str:
        """The name of the model that clients see."""
        return self._model.name

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its completion may have together."""
        return self._model.context_length

    @property
    def compute_path(self) -> str:
        """The engine, for people to read."""
        return f"{self._model.dialect.name} at {self._config.shown_url}"

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def fault(self) -> str:
        """Why no request is sent to the engine now; empty if they are."""
        return self._breaker.reason

    @property
    def load(self) -> Load:
        """How much runs and waits; the KV cache is the engine's."""
        return self._requests.load

    @property
    def work(self) -> Work:
        """The tokens that have come, and the attempts; steps are the engine's."""
        return Work(completion_tokens=self._requests.completion_tokens, upstream=self._figures.work)

    def take_first_byte_s(self) -> list[float]:
        """Until the answers of the engine have begun: those since the last call."""
        return self._figures.take_first_byte_s()

    def check_room(self, owner: str, *, count: int = 1) -> None:
        """Raises Overloaded or Unavailable: so many requests of the owner would be refused now."""
        self._check_breaker()
        self._requests.check_room(owner, count=count)

    def prepare(self, request: GenerationRequest) -> PreparedRequest:
        """Check that the request can be passed on, and count its prompt or estimate it.

        Raises:
            UpstreamRefused, EmptyPrompt, PromptTooLong: it can never be generated.
            EngineError: the engine does not answer.
        """
        self._check_breaker()
        self._call(request)
        prompt = request.prompt
        try:
            ids = (
                self._wait(self._tokens.encode(prompt, grammar=request.grammar))
                if self._tokens.counts(prompt)
                else None
            )
        except UpstreamRefused:
            if self._tokens.counts(prompt):
                raise
            ids = None
        if ids is None:
            return PreparedRequest(request=request, prompt_tokens=estimated_tokens(prompt))
        if not ids:
            raise EmptyPrompt
        prepared = PreparedRequest(request=request, prompt_tokens=len(ids), prompt_ids=ids)
        if prepared.max_tokens > self.context_length:
            raise PromptTooLong(
                prompt_tokens=len(ids), max_new_tokens=request.max_new_tokens, limit=self.context_length
            )
        return prepared

    def prompt_text(self, prepared: PreparedRequest) -> str:
        """The prompt as text.

        Raises:
            EngineError: the engine cannot tell the text of tokens.
        """
        prompt = prepared.request.prompt
        if isinstance(prompt, str):
            return prompt
        return (
            "\n".join(shown_texts(prompt))
            if isinstance(prompt, Chat)
            else self._wait(self._tokens.text_of(prompt))
        )

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        """The tokens of a prompt of any length.

        Raises:
            UpstreamRefused: the engine cannot tell them.
        """
        return self._wait(self._tokens.encode(prompt, special_tokens=special_tokens))

    def is_special(self, token_id: int) -> bool:
        """Unknown of another server's tokens, so False."""
        return False

    def token_bytes(self, token_id: int) -> bytes:
        """The text of a token as bytes; characters that are not whole are replaced."""
        return self._wait(self._tokens.text_of((token_id,))).encode()

    def submit(self, prepared: PreparedRequest) -> Generation:
        """Start one request, as `submit_all` does."""
        return self.submit_all([prepared])[0]

    def submit_all(self, prepared: Sequence[PreparedRequest]) -> list[Generation]:
        """Start requests that `prepare` has checked, all of one owner; all of them or none.

        Raises:
            Overloaded: the queue is full.
            Unavailable: nothing is accepted, or no request is sent to the engine now.
        """
        self._check_breaker()
        headers = self._headers()
        return self._requests.submit(
            [Job(prepared=one, call=self._call(one.request), headers=headers) for one in prepared]
        )

    def drain(self) -> None:
        """Accept no more requests; those already submitted are finished."""
        self._requests.close(DRAINING)

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """End all requests with `Interrupted`, and the thread."""
        if not self.alive:
            return
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop)
        self._thread.join(timeout_s)

    def _call(self, request: GenerationRequest) -> Call:
        model = self._model
        return call_of(request, model.dialect, model=model.name, salt_key=self._config.salt_key)

    def _check_breaker(self) -> None:
        if reason := self._breaker.reason:
            raise Unavailable(reason)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns in the event loop's thread."""
        try:
            return asyncio.run_coroutine_threadsafe(self._judged(work), self._loop).result()
        except UpstreamFailure as error:
            raise error.failure.error from error

    async def _judged(self, work: Coroutine[Any, Any, T]) -> T:
        began_at = time.monotonic()
        try:
            return await work
        except UpstreamFailure as error:
            if hasattr(self, "_requests"):
                self._requests.judge(error.failure, began_at=began_at)
            raise

    async def _made_client(self) -> UpstreamClient:
        return UpstreamClient(self._config, self._transport)

    async def _stop(self) -> None:
        if hasattr(self, "_requests"):
            await self._requests.stop(STOPPED)
        await self._client.close()
        self._loop.stop()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
