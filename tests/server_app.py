"""A small WSGI application that `tests/test_server.py` serves with the service's worker."""

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

PIECE = b"x" * 65536
counted = {"pieces": 0, "closed": 0}


class Flood:
    """Pieces without end; counts them, and that it was closed."""

    def __iter__(self) -> Iterator[bytes]:
        while True:
            counted["pieces"] += 1
            yield PIECE

    def close(self) -> None:
        counted["closed"] += 1


def ticks() -> Iterator[bytes]:
    for number in range(5):
        yield f"{number}\n".encode()
        time.sleep(0.3)


def breaks() -> Iterator[bytes]:
    yield b"begun"
    raise RuntimeError("in the middle")


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    headers = [("Content-Type", "text/plain")]
    match environ["PATH_INFO"]:
        case "/ticks":
            answer: Iterable[bytes] = ticks()
        case "/flood":
            answer = Flood()
        case "/breaks":
            answer = breaks()
        case "/fails" | "/v1/fails":
            raise RuntimeError("at once")
        case "/injects":
            headers.append(("X-Forged", "a\r\nSet-Cookie: b"))
            answer = [b""]
        case "/gone":
            until = time.monotonic() + 5
            while not environ["llmservice.client_gone"]() and time.monotonic() < until:
                time.sleep(0.1)
            counted["gone"] = int(time.monotonic() < until)
            answer = [b"gone"]
        case "/sleep":
            time.sleep(1)
            answer = [b"slept"]
        case "/echo":
            answer = [environ["CONTENT_LENGTH"].encode(), b" ", environ["wsgi.input"].read()]
        case _:
            answer = [json.dumps(counted).encode()]
    start_response("200 OK", headers)
    return answer
