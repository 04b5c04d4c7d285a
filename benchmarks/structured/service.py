"""A running service, as the benchmark asks it."""

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from referencing import Registry

AT_ONCE = 16
_PROMPT = "Answer with a short JSON value that fits the schema.\n"
_ENDLESS = {"type": "array", "minItems": 400}
"""Its texts have more tokens than a request here asks for."""


@dataclass(frozen=True)
class Outcome:
    """What came of a schema: valid, truncated, refused, invalid or error; and the text, if any."""

    kind: str
    text: str = ""


class Service:
    """Asks for texts at temperature 0.7, by `/v1/completions`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._model = client.get("/v1/models").raise_for_status().json()["data"][0]["id"]

    def compile_s(self, schema: Any) -> float:
        """How much longer the first request with a schema takes than the next."""
        times = []
        for _ in range(2):
            began = time.perf_counter()
            self.ask(schema, max_tokens=1, seed=1)
            times.append(time.perf_counter() - began)
        return max(0.0, times[0] - times[1])

    def outcomes(self, schemas: Iterable[Any], *, max_tokens: int) -> list[Outcome]:
        """What comes of each schema, of 16 at once."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda schema: self._outcome(schema, max_tokens), schemas))

    def tokens_per_s(self, *, held: bool, tokens: int) -> float:
        """Of 16 requests at once, each of this many tokens: held to a schema, or free.

        Both have the same prompt, seeds, temperature and number of tokens, and none ends earlier: the schema
        asks for more than there is room for, and a free text ignores the end token. Nothing is compiled while
        the time is taken. What the texts say differs: a draw among few tokens takes less than one among all.
        """
        schema = _ENDLESS if held else None
        self.ask(schema, max_tokens=1, seed=0)  # compiles it
        began = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda i: self.ask(schema, max_tokens=tokens, seed=i), range(AT_ONCE)))
        seconds = time.perf_counter() - began
        counts = {answer.raise_for_status().json()["usage"]["completion_tokens"] for answer in answers}
        if counts != {tokens}:
            raise RuntimeError(f"The texts have {sorted(counts)} tokens, not all {tokens}")
        return AT_ONCE * tokens / seconds

    def gaps_s(self, *, tokens: int) -> list[float]:
        """The times between the tokens of a stream without a schema."""
        times = []
        body = {**self._body(None, max_tokens=tokens, seed=1), "stream": True}
        with self._client.stream("POST", "/v1/completions", json=body) as answer:
            answer.raise_for_status()
            times = [time.perf_counter() for line in answer.iter_lines() if line.startswith("data: {")]
        return [after - before for before, after in pairwise(times)]

    def ask(self, schema: Any, *, max_tokens: int, seed: int) -> httpx.Response:
        """A text of a schema, or free text."""
        return self._client.post("/v1/completions", json=self._body(schema, max_tokens=max_tokens, seed=seed))

    def _body(self, schema: Any, *, max_tokens: int, seed: int) -> dict[str, Any]:
        held = {"ignore_eos": True} if schema is None else {"structured_outputs": {"json": schema}}
        return {
            "model": self._model, "prompt": _PROMPT, "temperature": 0.7, "seed": seed,
            "max_tokens": max_tokens, **held,
        }  # fmt: skip

    def _outcome(self, schema: Any, max_tokens: int) -> Outcome:
        answer = self.ask(schema, max_tokens=max_tokens, seed=1)
        if answer.status_code == httpx.codes.BAD_REQUEST:
            error = answer.json()["error"]
            print(f"  {error['message'][:100]}")
            return Outcome("refused" if error["code"] == "invalid_grammar" else "error")
        if answer.status_code != httpx.codes.OK:
            print(f"  {answer.text[:100]}")
            return Outcome("error")
        [choice] = answer.json()["choices"]
        if choice["finish_reason"] == "length":
            return Outcome("truncated", choice["text"])
        return Outcome("valid" if _fits(choice["text"], schema) else "invalid", choice["text"])


def _fits(text: str, schema: Any) -> bool:
    kind: Any = validator_for(schema, default=Draft202012Validator)
    checker = kind(schema, format_checker=kind.FORMAT_CHECKER, registry=Registry())
    try:
        return bool(checker.is_valid(json.loads(text)))
    except ValueError:
        return False
