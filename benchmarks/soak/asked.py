"""What the clients of a soak ask for: every kind of request, by a seed."""

import random
from dataclasses import dataclass
from typing import Any

_PREFIX = (
    "A list of rules, each of which the answer keeps. " + "Be brief, be exact, and name your source. " * 20
)
_WORDS = ("river", "stone", "garden", "winter", "signal", "harbour", "letter", "engine", "market", "silver")
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request.

    Attributes:
        kind: what it tries.
        path: where it is posted.
        body: as JSON.
        leaves_after: events after which the client closes the connection; None to read to the end.
        refused: it is one that the service has to refuse.
        most_tokens: an upper bound of what it can be charged.
    """

    kind: str
    path: str
    body: dict[str, Any]
    leaves_after: int | None = None
    refused: bool = False
    most_tokens: int = 2048

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream of events."""
        return bool(self.body.get("stream"))


def asked(seed: int, model: str, *, leaves: bool) -> Asked:
    """The request of a seed, which gives the same text whenever it is asked.

    Args:
        leaves: it may be one whose client leaves before the answer ends.
    """
    source = random.Random(seed)  # noqa: S311
    prompt = " ".join(source.choices(_WORDS, k=source.randint(2, 40)))
    sampling = {"seed": seed, "temperature": source.choice([0, 0.7, 1.0])}
    short, long = source.randint(4, 24), source.randint(100, 200)
    completion = {"model": model, "prompt": prompt, "max_tokens": short, **sampling}
    generate = {"prompt": prompt, "max_new_tokens": short, "seed": seed}
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    kinds = [
        Asked(kind="short", path="/generate", body=generate),
        Asked(kind="long", path="/generate", body={**generate, "max_new_tokens": long}),
        Asked(kind="stream", path="/v1/completions", body={**completion, "max_tokens": long, **streamed}),
        Asked(kind="choices", path="/v1/completions", body={**completion, "n": 3}),
        Asked(
            kind="schema",
            path="/v1/completions",
            body={**completion, "max_tokens": 64, "structured_outputs": {"json": _SCHEMA}},
        ),
        Asked(kind="prefix", path="/v1/completions", body={**completion, "prompt": _PREFIX + prompt}),
        Asked(
            kind="chat",
            path="/v1/chat/completions",
            body={
                "model": model,
                "messages": [{"role": "user", "content": prompt}],
                "max_completion_tokens": short,
                **sampling,
                **streamed,
            },
        ),
        Asked(
            kind="cancelled",
            path="/v1/completions",
            body={**completion, "max_tokens": long, **streamed},
            leaves_after=source.randint(1, 20) if leaves else None,
        ),
        Asked(kind="bad", path="/v1/completions", body={**completion, "temperature": "hot"}, refused=True),
    ]
    return source.choice(kinds)
