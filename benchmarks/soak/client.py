"""The clients of a soak, and what they saw."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.soak.asked import Asked

_KEPT_EVERY = 20
_CALM_S = 0.5
_READ_S = 180.0


@dataclass(frozen=True)
class Answer:
    """What a client received whole: the texts of all choices, and the tokens of which it was told."""

    texts: tuple[str, ...]
    tokens: int


class Broken(Exception):
    """The connection ended before the answer did."""


@dataclass
class Seen:
    """What the clients of one key saw.

    Attributes:
        tokens: of the answers that were received whole.
        unknown_tokens: the most that the others may have cost.
        broken_at: when connections broke, by the monotonic clock.
        kept: some requests with the texts that came.
        faults: what must not happen.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    unknown_tokens: int = 0
    broken_at: list[float] = field(default_factory=list)
    kept: list[tuple[Asked, tuple[str, ...]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Client:
    """Sends the requests of one key, one after the other."""

    def __init__(self, url: str, key: str) -> None:
        self.seen = Seen()
        self._http = httpx.Client(
            base_url=url,
            headers={"X-API-Key": key},
            timeout=httpx.Timeout(10, read=_READ_S),
        )

    def run(self, requests: Callable[[], Asked], end: threading.Event) -> None:
        """Send requests until `end`; a refusal is followed by a short pause."""
        while not end.is_set():
            if not self._one(requests()):
                end.wait(_CALM_S)

    def ask(self, asked: Asked) -> Answer | httpx.Response:
        """The whole answer, or the response that refuses it.

        Raises:
            Broken: the connection ended before the answer did.
        """
        try:
            with self._http.stream("POST", asked.path, json=asked.body) as response:
                if response.status_code != 200:
                    response.read()
                    return response
                if asked.streamed:
                    return _streamed(response, asked.leaves_after)
                return _whole(json.loads(response.read()))
        except httpx.TransportError as error:
            raise Broken(repr(error)) from error

    def _one(self, asked: Asked) -> bool:
        """Whether it was answered as it had to be."""
        seen = self.seen
        try:
            answer = self.ask(asked)
        except Broken:
            seen.outcomes["broken"] += 1
            seen.broken_at.append(time.monotonic())
            seen.unknown_tokens += asked.most_tokens
            return False
        if isinstance(answer, httpx.Response):
            return self._refused(asked, answer)
        if asked.refused:
            seen.faults.append(f"{asked.kind} was accepted: {asked.body}")
        seen.outcomes[asked.kind] += 1
        if asked.leaves_after is not None:
            seen.unknown_tokens += asked.most_tokens
            return True
        seen.tokens += answer.tokens
        if sum(seen.outcomes.values()) % _KEPT_EVERY == 0:
            seen.kept.append((asked, answer.texts))
        return True

    def _refused(self, asked: Asked, response: httpx.Response) -> bool:
        seen, status = self.seen, response.status_code
        if asked.refused and 400 <= status < 500:
            seen.outcomes[asked.kind] += 1
            return True
        seen.outcomes[f"status {status}"] += 1
        if status not in {429, 503}:
            seen.faults.append(f"{asked.kind}: {status} {response.text[:200]}")
        elif "Retry-After" not in response.headers:
            seen.faults.append(f"{asked.kind}: {status} without Retry-After")
        return False


def _whole(body: dict[str, Any]) -> Answer:
    texts = [choice["text"] for choice in body["choices"]] if "choices" in body else [body["completion"]]
    return Answer(tuple(texts), body["usage"]["total_tokens"])


def _streamed(response: httpx.Response, leaves_after: int | None) -> Answer:
    text, tokens, events, done = "", 0, 0, False
    for line in response.iter_lines():
        if not line.startswith("data: "):
            continue
        data = line.removeprefix("data: ")
        if data == "[DONE]":
            done = True
            break
        event = json.loads(data)
        if "error" in event:
            raise Broken(data)
        events += 1
        for choice in event["choices"]:
            text += choice.get("text") or choice.get("delta", {}).get("content") or ""
        if event.get("usage"):
            tokens = event["usage"]["total_tokens"]
        if events == leaves_after:
            return Answer((text,), tokens)
    if not done:
        raise Broken("the stream ended early")
    return Answer((text,), tokens)
