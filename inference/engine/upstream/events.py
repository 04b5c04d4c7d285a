"""The data of server-sent events, from the bytes of an answer as they come."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from inference.engine.errors import GenerationFailed
from inference.engine.upstream.answers import UNREADABLE, json_object

LONGEST_LINE = 16 * 2**20
"""A chunk with twenty alternatives for each of some hundred tokens has a few hundred kilobytes."""
_DATA = b"data:"
_DONE = b"[DONE]"


async def chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[Mapping[str, Any] | None]:
    """The JSON objects of OpenAI's streams; the last one is None if the stream ends as it should.

    Comments and other fields of events are skipped.

    Raises:
        GenerationFailed: it is no such stream.
    """
    pending = b""
    async for piece in pieces:
        *lines, pending = (pending + piece).split(b"\n")
        if len(pending) > LONGEST_LINE:
            raise GenerationFailed(UNREADABLE)
        for line in lines:
            if not line.startswith(_DATA):
                continue
            data = line.removeprefix(_DATA).strip()
            if data == _DONE:
                yield None
                return
            yield _object(data)


def _object(data: bytes) -> Mapping[str, Any]:
    chunk = json_object(data)
    if chunk is None:
        raise GenerationFailed(UNREADABLE)
    return chunk
