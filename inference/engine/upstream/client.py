"""The pooled HTTP client of one upstream engine, with its time limits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2

from inference.engine.errors import GenerationFailed, Unavailable, UpstreamSilent
from inference.engine.upstream.answers import UNREACHABLE, UNREADABLE, Failure, failure_of, json_object
from inference.engine.upstream.config import ATTEMPTS, BETWEEN_ATTEMPTS_S, UpstreamConfig

T = TypeVar("T")

_SPARE_CONNECTIONS = 8
"""For counting and for probes, beside one for each running request."""
_LARGEST_ANSWER = 2**26
_DRAINED_WITHIN_S = 0.5
"""How long the end of an answer that is complete may take; later, its connection is not used again."""
_EVENT_STREAM = "text/event-stream"


class UpstreamFailure(Exception):
    """An attempt that failed."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(str(failure.error))


class UpstreamClient:
    """Calls the engine; used in one event loop.

    Args:
        transport: replaces the network in tests.
    """

    def __init__(self, config: UpstreamConfig, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self._config = config
        headers = {"Authorization": f"Bearer {config.api_key}"} if config.api_key else {}
        most = config.max_running + _SPARE_CONNECTIONS
        self._http = httpx2.AsyncClient(
            headers={**headers, "User-Agent": "llmservice"},
            # The limits for answers are `_within`'s: one for the first byte, another for silence.
            timeout=httpx2.Timeout(None, connect=config.connect_s, write=config.silence_s),
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=30),
            transport=transport,
        )

    async def get(self, path: str) -> Mapping[str, Any]:
        """The JSON object at a path under the engine's root.

        Raises:
            UpstreamFailure: there is none.
        """
        return await self._call("GET", path, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The JSON object that a path under the engine's root answers to this body.

        Raises:
            UpstreamFailure: there is none.
        """
        return await self._call("POST", path, body)

    @asynccontextmanager
    async def stream(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str]
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """The bytes of a streamed answer as they come; leaving the block closes the connection.

        Raises:
            UpstreamFailure: it is answered in another way, or takes longer than it may.
        """
        async with self._answer("POST", path, body, {**headers, "Accept": _EVENT_STREAM}) as response:
            if not response.headers.get("Content-Type", "").startswith(_EVENT_STREAM):
                raise UpstreamFailure(Failure(GenerationFailed(UNREADABLE), broken=True))
            pieces = self._pieces(response)
            yield pieces
            with suppress(TimeoutError, UpstreamFailure):
                async with asyncio.timeout(_DRAINED_WITHIN_S):
                    async for _ in pieces:
                        pass

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        content = b""
        # An answer that trickles never falls silent.
        limit_s = self._config.first_byte_s + self._config.silence_s
        for attempt in range(ATTEMPTS):
            try:
                content = await _within(
                    limit_s, self._content(method, path, body), "did not end its answer within"
                )
                break
            except UpstreamFailure as error:
                if not error.failure.again or attempt + 1 == ATTEMPTS:
                    raise
            await asyncio.sleep(BETWEEN_ATTEMPTS_S * 2**attempt)
        answer = json_object(content)
        if answer is None:
            raise UpstreamFailure(Failure(GenerationFailed(UNREADABLE), broken=True))
        return answer

    async def _content(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        async with self._answer(method, path, body, {}) as response:
            return await self._read(response)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> AsyncGenerator[httpx2.Response, None]:
        request = self._http.build_request(
            method, f"{self._config.root}/{path}", json=body, headers=dict(headers)
        )
        with _translated():
            response = await _within(
                self._config.first_byte_s,
                self._http.send(request, stream=True),
                "did not begin its answer within",
            )
        try:
            if response.status_code != HTTPStatus.OK:
                content = await self._read(response)
                raise UpstreamFailure(failure_of(response.status_code, response.headers, content))
            yield response
        finally:
            await response.aclose()

    async def _pieces(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        pieces = response.aiter_bytes()
        while True:
            with _translated():
                piece = await _within(self._config.silence_s, anext(pieces, None), "fell silent for")
            if piece is None:
                return
            yield piece

    async def _read(self, response: httpx2.Response) -> bytes:
        content = b""
        async for piece in self._pieces(response):
            content += piece
            if len(content) > _LARGEST_ANSWER:
                raise UpstreamFailure(Failure(GenerationFailed(UNREADABLE), broken=True))
        return content


@contextmanager
def _translated() -> Iterator[None]:
    """Turns the HTTP client's exceptions into `UpstreamFailure`."""
    try:
        yield
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise UpstreamFailure(Failure(Unavailable(UNREACHABLE), again=True, broken=True)) from error


async def _within(seconds: float, waiting: Awaitable[T], message: str) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except TimeoutError as error:
        silent = UpstreamSilent(f"The engine behind this service {message} {seconds:g} s.")
        raise UpstreamFailure(Failure(silent, broken=True)) from error
