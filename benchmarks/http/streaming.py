"""What streaming costs, and how evenly tokens arrive: `python -m benchmarks.http.streaming`.

On one service, in turn: unstreamed requests that start together, then as many streams, then single streams
on the idle engine. All texts have the same length, and every token is an event.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.http.load import percentiles, prompt
from benchmarks.http.servers import Server, llmservice, served_model
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from inference.engine.config import usable_cpus

SINGLE_TOKENS = 16
SINGLE_STREAMS = 5
"""In each round, on the idle engine."""

Round = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request as its client sees it; times in seconds of one clock.

    Attributes:
        tokens: how many were generated.
        token_at: when each token arrived; empty without a stream.
    """

    began: float
    ended: float
    tokens: int
    token_at: tuple[float, ...]

    @property
    def first_token_s(self) -> float:
        return self.token_at[0] - self.began

    @property
    def gaps_s(self) -> list[float]:
        """The times between two tokens."""
        return [after - before for before, after in pairwise(self.token_at)]


class Requests:
    """Sends requests to the service."""

    def __init__(self, server: Server, *, model: str, words: int) -> None:
        self._server = server
        self._model = model
        self._words = words

    def together(self, count: int, *, new_tokens: int, stream: bool) -> list[Answer]:
        """So many requests, started at the same time."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda n: self.one(n, new_tokens=new_tokens, stream=stream), range(count)))

    def one(self, number: int, *, new_tokens: int, stream: bool) -> Answer:
        """A request for exactly `new_tokens`, on a connection that is open before its time begins.

        Raises:
            RuntimeError: it was refused, or failed.
        """
        body = {
            "model": self._model,
            "prompt": prompt(self._words, number),
            "max_tokens": new_tokens,
            "seed": number,
            "ignore_eos": True,
            "return_token_ids": True,
            "stream": stream,
        }
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._server.key}"}
        address = urlsplit(self._server.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=600)
        connection.connect()
        began = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the service answered {answer.status}: {answer.read().decode()}")
        token_at = _token_times(answer) if stream else ()
        tokens = len(token_at) if stream else json.load(answer)["usage"]["completion_tokens"]
        ended = time.perf_counter()
        connection.close()
        if tokens != new_tokens:
            raise RuntimeError(f"the service generated {tokens} tokens instead of {new_tokens}")
        return Answer(began=began, ended=ended, tokens=tokens, token_at=token_at)


def _token_times(lines: Iterable[bytes]) -> tuple[float, ...]:
    """When each token of a stream arrived. The lines are read to the end."""
    times: list[float] = []
    for line in lines:
        if not line.startswith(b"data: {"):
            continue
        arrived = time.perf_counter()
        chunk = json.loads(line.removeprefix(b"data: "))
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        times += [arrived] * sum(len(choice["token_ids"]) for choice in chunk["choices"])
    return tuple(times)


def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    settings = {"LLM_DTYPE": given.precision, "LLM_SPECULATION": "off", "LLM_PREFIX_CACHE": "off"}
    rounds: list[Round] = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        llmservice(folder, Path(scratch), threads=given.threads, **settings) as server,
    ):
        progress("Waiting for the service ...")
        server.wait_ready()
        path = server.compute_path()
        progress(f"{given.precision}: {path}", last=True)
        requests = Requests(server, model=served_model(server.url, server.key), words=given.words)
        requests.together(given.streams, new_tokens=SINGLE_TOKENS, stream=True)  # warm
        for number in range(given.rounds):
            progress(f"Round {number + 1} of {given.rounds} ...")
            rounds.append(measure(requests, streams=given.streams, new_tokens=given.new_tokens))
    about = {
        "threads": given.threads, "precision": given.precision, "path": path, "streams": given.streams,
        "words": given.words, "new_tokens": given.new_tokens,
    }  # fmt: skip
    save(given.out, about=about, measured={"rounds": rounds})
    progress(f"All figures are in {given.out}.", last=True)
    print(table(rounds, given.streams))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.http.streaming",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, help="folder of a model; GPT-2 medium's shape if not given")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=128, help="tokens of every text")
    parser.add_argument("--words", type=int, default=8, help="words of a prompt, about a token each")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="CPU threads of the service")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "streaming.json")
    return parser.parse_args(argv)


def measure(requests: Requests, *, streams: int, new_tokens: int) -> Round:
    """One round; a step is the median time between two tokens of the same measurement."""
    unstreamed = requests.together(streams, new_tokens=new_tokens, stream=False)
    streamed = requests.together(streams, new_tokens=new_tokens, stream=True)
    single = [requests.one(n, new_tokens=SINGLE_TOKENS, stream=True) for n in range(SINGLE_STREAMS)]
    gaps = percentiles("gap_s", [gap for answer in streamed for gap in answer.gaps_s])
    single_step_s = statistics.median(gap for answer in single for gap in answer.gaps_s)
    first_s = statistics.median(answer.first_token_s for answer in single)
    rates = tokens_per_s(unstreamed), tokens_per_s(streamed)
    return {
        "unstreamed_tokens_per_s": rates[0],
        "streamed_tokens_per_s": rates[1],
        "streamed_to_unstreamed": rates[1] / rates[0],
        "step_s": gaps["gap_s_p50"],
        "gap_s_p99": gaps["gap_s_p99"],
        "gap_p99_steps": gaps["gap_s_p99"] / gaps["gap_s_p50"],
        "single_step_s": single_step_s,
        "first_event_s": first_s,
        "first_event_steps": first_s / single_step_s,
    }


def tokens_per_s(answers: list[Answer]) -> float:
    """Of requests that started together: all tokens, from the first begin to the last end."""
    seconds = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
    return sum(answer.tokens for answer in answers) / seconds


def table(rounds: list[Round], streams: int) -> str:
    """The three ratios with what they are made of; each is the median of the rounds."""

    def figure(name: str, factor: float = 1) -> str:
        return with_spread(factor * found[name] for found in rounds)

    rows = [
        [f"tokens/s, {streams} streams : {streams} unstreamed", "≥ 0.95", figure("streamed_to_unstreamed")],
        ["between two tokens, p99, steps", "≤ 2", figure("gap_p99_steps")],
        ["first event on the idle engine, steps", "≤ 2", figure("first_event_steps")],
        [f"tokens/s, {streams} unstreamed", "", figure("unstreamed_tokens_per_s")],
        [f"tokens/s, {streams} streams", "", figure("streamed_tokens_per_s")],
        [f"step with {streams} streams, ms", "", figure("step_s", 1000)],
        ["step with one, ms", "", figure("single_step_s", 1000)],
        ["first event on the idle engine, ms", "", figure("first_event_s", 1000)],
    ]
    return markdown(["figure", "wanted", "measured"], rows)


if __name__ == "__main__":
    main()
