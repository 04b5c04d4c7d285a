"""What a client of the service sees while another engine generates."""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from benchmarks.http.servers import Server, served_model

TIMEOUT_S = 180.0
PROMPT = "The capital of France is"
CHAT = [{"role": "user", "content": "Name three colours."}]


@dataclass
class Front:
    """The service in front, as a client uses it; `rows` is what was tried, the result, and what was seen."""

    engine: str
    url: str
    key: str
    rows: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "X-API-Key": self.key}
        self.http = httpx2.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)
        self.model = served_model(self.url, self.key)

    def check(self, tried: str, holds: bool, seen: str) -> None:
        """Add a row."""
        self.rows.append([self.engine, tried, "ok" if holds else "FAILED", seen.replace("|", "\\|")[:80]])

    @contextmanager
    def trying(self, tried: str) -> Iterator[None]:
        """Add a row if what is tried fails otherwise."""
        try:
            yield
        except Exception as error:
            self.check(tried, False, f"{type(error).__name__}: {error}")

    def post(self, path: str, **body: Any) -> httpx2.Response:
        return self.http.post(path, json={"model": self.model, **body})

    def streamed(self, path: str, **body: Any) -> tuple[str, Any]:
        """The text of a streamed answer, and its usage."""
        body = {"model": self.model, "stream": True, "stream_options": {"include_usage": True}, **body}
        text, usage = "", None
        with self.http.stream("POST", path, json=body) as answer:
            for line in answer.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                if "error" in chunk:
                    raise RuntimeError(chunk["error"]["message"])
                for choice in chunk["choices"]:
                    text += choice.get("text") or choice.get("delta", {}).get("content") or ""
                usage = chunk.get("usage") or usage
        return text, usage

    def used(self) -> tuple[int, int]:
        """What the account of the key has today, once nothing is reserved any more."""
        for _ in range(200):
            today = self.http.get("/keys/me").json()["today"]
            if not today["reserved_tokens"]:
                break
            time.sleep(0.05)
        return today["prompt_tokens"], today["completion_tokens"]


def texts_and_counts(front: Front, direct: Front) -> None:
    """Texts are the engine's own, streamed or not, and the account is what clients were told."""
    for path, body in [
        ("/v1/completions", {"prompt": PROMPT, "max_tokens": 12}),
        ("/v1/chat/completions", {"messages": CHAT, "max_tokens": 12}),
    ]:
        with front.trying(path):
            body = {**body, "temperature": 0, "seed": 1}
            before = front.used()
            own = direct.post(path, **body).json()
            whole = front.post(path, **body).json()
            text, usage = front.streamed(path, **body)
            expected, found = (_text(answer) for answer in (own, whole))
            front.check(f"{path}: the engine's text", expected == found == text, repr(found))
            front.check(f"{path}: usage", own["usage"]["total_tokens"] == usage["total_tokens"], str(usage))
            after = front.used()
            charged = tuple(new - old for new, old in zip(after, before, strict=True))
            told = (2 * usage["prompt_tokens"], 2 * usage["completion_tokens"])
            front.check(f"{path}: account", charged == told, str(charged))


def features(front: Front) -> None:
    """A schema holds, log-probabilities come, and what the engine refuses is named."""
    with front.trying("schema"):
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"enum": ["red", "blue"]}}}
        answer = front.post("/v1/chat/completions", messages=CHAT, max_tokens=8, response_format=form).json()
        front.check("schema", json.loads(_text(answer)) in ("red", "blue"), _text(answer))
    with front.trying("logprobs"):
        answer = front.post("/v1/completions", prompt=PROMPT, max_tokens=3, logprobs=2).json()
        found = answer["choices"][0]["logprobs"]["token_logprobs"]
        front.check("logprobs", len(found) == 3, str(found))
    with front.trying("refusal"):
        refused = front.post(
            "/v1/completions", prompt=PROMPT, max_tokens=3, structured_outputs={"regex": "("}
        )
        front.check("refusal", refused.status_code == 400, refused.json()["error"]["message"])


def cancelled(front: Front, running: str, engine_url: str) -> None:
    """A stream that its client closes ends at the engine, and is charged what it used.

    Args:
        running: the name of the engine's metric for running requests.
    """
    with front.trying("cancelling"):
        before = front.used()
        body = {"prompt": PROMPT, "max_new_tokens": 200, "seed": 1, "stream": True}
        with front.http.stream("POST", "/generate", json=body) as answer:
            next(answer.iter_bytes())
        began = time.monotonic()
        while _metric(engine_url, running) and time.monotonic() < began + 20:
            time.sleep(0.02)
        took_s = time.monotonic() - began
        charged = front.used()[1] - before[1]
        front.check("cancelling", 0 < charged < 200 and took_s < 20, f"{charged} tokens, {took_s:.2f} s")


def one_node_killed(front: Front, nodes: Sequence[Server], *, requests: int = 24) -> None:
    """Whole answers all come although a node dies under load; the account is exact."""
    before = front.used()

    def ask(number: int) -> httpx2.Response:
        return front.post("/v1/completions", prompt=f"Number {number}:", max_tokens=24, seed=number)

    with front.trying("a node killed"), ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(requests)]
        asked[4].result()
        _kill(nodes[0])
        answers = [one.result() for one in asked]
        good = [answer.json()["usage"] for answer in answers if answer.status_code == 200]
        front.check("a node killed: no answer lost", len(good) == requests, f"{len(good)} of {requests}")
        told = tuple(sum(one[name] for one in good) for name in ("prompt_tokens", "completion_tokens"))
        charged = tuple(new - old for new, old in zip(front.used(), before, strict=True))
        front.check("a node killed: account", charged == told, f"{charged}, told {told}")


def _kill(node: Server) -> None:
    """End all processes of the service at once, as a machine that fails does."""
    children = f"/proc/{node.process.pid}/task/{node.process.pid}/children"
    with open(children) as file:  # noqa: PTH123
        workers = [int(number) for number in file.read().split()]
    for process in (node.process.pid, *workers):
        os.kill(process, signal.SIGKILL)


def _text(answer: Any) -> str:
    choice = answer["choices"][0]
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def _metric(url: str, name: str) -> float:
    lines = httpx2.get(f"{url}/metrics", timeout=TIMEOUT_S).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
