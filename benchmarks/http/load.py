"""The load generator: concurrent clients, each sending its next request as soon as it has an answer.

`python -m benchmarks.http.load URL CLIENTS SECONDS …` runs in a process of its own and prints one line
of JSON. One more client requests `/health` all the time.
"""

import argparse
import http.client
import json
import os
import statistics
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import urlsplit

_HEALTH_EVERY_S = 0.2
_TEXT = "the people of a small town by the sea knew that the old ship would come back one day"


def prompt(words: int, number: int) -> str:
    """English words, about a token each; a different text for each number."""
    text = _TEXT.split()
    return " ".join(text[(number + i) % len(text)] for i in range(words))


def length(new_tokens: int, number: int) -> int:
    """From 0.5 to 1.5 times `new_tokens`, different for each number.

    Answers of equal length would all end together, and so would the next requests of their clients.
    """
    return max(1, new_tokens // 2 + number * 61 % (new_tokens + 1))


@dataclass
class Measured:
    """What the clients observed; times in seconds. The first token of a stream counts when it arrives,
    that of any other answer when the whole answer has arrived."""

    answers: int = 0
    errors: int = 0
    tokens: int = 0
    answer_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    between_tokens_s: list[float] = field(default_factory=list)
    health_s: list[float] = field(default_factory=list)


class Clients:
    """Several clients of one service.

    Args:
        path: of the endpoint that generates.
        words: words of a prompt, about a token each.
        new_tokens: tokens to generate on average.
        stream: request server-sent events; each event before the last counts as a token.
    """

    def __init__(self, url: str, key: str, *, path: str, words: int, new_tokens: int, stream: bool) -> None:
        self._address = urlsplit(url)
        self._key = key
        self._path = path
        self._words = words
        self._new_tokens = new_tokens
        self._stream = stream
        self._lock = threading.Lock()
        self.measured = Measured()

    def run(self, clients: int, seconds: float) -> dict[str, float]:
        """Send requests for `seconds`. Tokens per second count until the end of the last answer."""
        until = time.perf_counter() + seconds
        threads = [threading.Thread(target=self._client, args=(n, until)) for n in range(clients)]
        over = threading.Event()
        health = threading.Thread(target=self._ask_health, args=(over,))
        began = time.perf_counter()
        for thread in [*threads, health]:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - began
        over.set()
        health.join()
        m = self.measured
        return {
            "clients": clients,
            "seconds": elapsed,
            "answers": m.answers,
            "errors": m.errors,
            "tokens_per_s": m.tokens / elapsed,
            **percentiles("answer_s", m.answer_s),
            **percentiles("first_token_s", m.first_token_s),
            **percentiles("between_tokens_s", m.between_tokens_s),
            **percentiles("health_s", m.health_s),
        }

    def _client(self, number: int, until: float) -> None:
        connection = self._connect()
        while time.perf_counter() < until:
            number += 1
            body: dict[str, object] = {
                "prompt": prompt(self._words, number),
                "max_new_tokens": length(self._new_tokens, number),
            }
            if self._stream:
                body["stream"] = True
            self._ask(connection, json.dumps(body))

    def _ask(self, connection: http.client.HTTPConnection, body: str) -> None:
        headers = {"Content-Type": "application/json", "X-API-Key": self._key}
        began = time.perf_counter()
        try:
            connection.request("POST", self._path, body, headers)
            answer = connection.getresponse()
            pieces: list[float] = []
            if "text/event-stream" in (answer.headers.get("Content-Type") or ""):
                data = b""
                for line in answer:
                    if line.startswith(b"data: "):
                        data = line.removeprefix(b"data: ")
                        pieces.append(time.perf_counter())
                pieces.pop()  # the last event is the whole answer
                content = json.loads(data)
            else:
                content = json.loads(answer.read())
            ok = answer.status == 200
            tokens = content["usage"]["completion_tokens"] if ok else 0
        except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError):
            connection.close()
            ok, tokens, pieces = False, 0, []
        ended = time.perf_counter()
        with self._lock:
            m = self.measured
            if not ok:
                m.errors += 1
                return
            m.answers += 1
            m.tokens += tokens
            m.answer_s.append(ended - began)
            m.first_token_s.append((pieces[0] if pieces else ended) - began)
            m.between_tokens_s.extend(after - before for before, after in pairwise(pieces))

    def _ask_health(self, over: threading.Event) -> None:
        connection = self._connect()
        while not over.wait(_HEALTH_EVERY_S):
            began = time.perf_counter()
            try:
                connection.request("GET", "/health")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                connection.close()
            self.measured.health_s.append(time.perf_counter() - began)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=600)


def percentiles(name: str, values: list[float]) -> dict[str, float]:
    """`<name>_p50`, `_p95` and `_p99`; nothing if there is no value."""
    if not values:
        return {}
    if len(values) == 1:
        return {f"{name}_p{p}": values[0] for p in (50, 95, 99)}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {f"{name}_p{p}": cuts[p - 1] for p in (50, 95, 99)}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("clients", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--path", default="/generate")
    parser.add_argument(
        "--stream", action="store_true", help="for a path that answers with server-sent events"
    )
    parser.add_argument("--words", type=int, default=8, help="words of the prompt, about a token each")
    parser.add_argument("--new-tokens", type=int, default=24)
    given = parser.parse_args(argv)
    clients = Clients(
        given.url,
        os.environ["API_KEY"],
        path=given.path,
        words=given.words,
        new_tokens=given.new_tokens,
        stream=given.stream,
    )
    print(json.dumps(clients.run(given.clients, given.seconds)))


if __name__ == "__main__":
    main()
