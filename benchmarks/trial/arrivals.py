"""Requests that come at a steady rate, however long answers take: `python -m … URL PER_SECOND SECONDS BODY`.

It runs in a process of its own and prints a line of JSON for each request.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from benchmarks.http.servers import Server
from benchmarks.trial.place import allow_descriptors
from llmservice.environment import BASE_DIR


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A request and its answer.

    Attributes:
        began_at, ended_at: on the monotonic clock, which all processes share.
        status: 0 if the connection broke.
        retry_after_s: None if the answer does not say.
        tokens: of prompt and answer.
    """

    began_at: float
    ended_at: float
    status: int
    retry_after_s: int | None
    tokens: int

    @property
    def took_s(self) -> float:
        return self.ended_at - self.began_at


def arrivals(server: Server, *, per_second: float, seconds: float, body: dict[str, object]) -> list[Arrival]:
    """Send the requests, and wait for all answers."""
    command = [sys.executable, "-m", "benchmarks.trial.arrivals", server.url]
    answered = subprocess.run(
        [*command, str(per_second), str(seconds), json.dumps(body)],
        cwd=BASE_DIR,
        env=os.environ | {"API_KEY": server.key},
        stdout=subprocess.PIPE,
        check=True,
    )
    return [Arrival(**json.loads(line)) for line in answered.stdout.splitlines()]


async def ask(url: str, key: str, body: dict[str, object]) -> Arrival:
    """Send one request to `/generate`, on a connection of its own."""
    address, sent = urlsplit(url), json.dumps(body).encode()
    head = (
        f"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    )
    began_at = time.monotonic()
    answer = b""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(head.encode() + sent)
        answer = await reader.read()
        writer.close()
    ended_at = time.monotonic()
    first, _, content = answer.partition(b"\r\n\r\n")
    status_line, *lines = first.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status = int(status_line.split()[1]) if status_line else 0
    return Arrival(
        began_at=began_at,
        ended_at=ended_at,
        status=status,
        retry_after_s=int(headers["retry-after"]) if "retry-after" in headers else None,
        tokens=json.loads(content)["usage"]["total_tokens"] if status == 200 else 0,
    )


async def _run(url: str, per_second: float, seconds: float, body: dict[str, object]) -> list[Arrival]:
    key, began = os.environ["API_KEY"], time.monotonic()
    tasks = []
    for number in range(int(per_second * seconds)):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        tasks.append(asyncio.create_task(ask(url, key, body)))
    return await asyncio.gather(*tasks)


def main() -> None:
    url, per_second, seconds, body = sys.argv[1:5]
    allow_descriptors(4096)
    for arrival in asyncio.run(_run(url, float(per_second), float(seconds), json.loads(body))):
        print(json.dumps(asdict(arrival)))


if __name__ == "__main__":
    main()
