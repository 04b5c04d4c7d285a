"""What holding texts to a schema adds to a step: microseconds a token between two passes of the model.

`python -m benchmarks.structured.step_cost` has the engine write texts, as many at once as a step has rows,
with a schema and without. Only the time between the passes counts: this thread's on a CPU, without that of
the thread that computes masks, and the time by the clock. Each is the median of the steps in which every text
got a token, of the round in which that was lowest. Parts contain the time that it takes to measure them.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from transformers import AutoTokenizer

from benchmarks.machine import describe
from benchmarks.results import progress
from benchmarks.served_model import served_model
from inference.engine.blocks import BLOCK, BlockPool, blocks_of
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.detokenizer import Detokenizer
from inference.engine.engine import Engine
from inference.engine.forward_pass import ForwardPass
from inference.engine.grammar.constraint import Constraint, Masks
from inference.engine.grammar.masks import read_masks
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.native import kernels
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.sampler import Sampler, draw
from inference.engine.segment import Segment
from inference.engine.sequence import Sequence
from inference.engine.tokenizer import HuggingFaceTokenizer
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

_PROMPT = "Answer with a short JSON value that fits the schema.\n"
_PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 100},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS: dict[str, Any] = {
    "no schema": None,
    "values": {"type": "array", "minItems": 400},
    "numbers": {"type": "array", "items": {"type": "number"}, "minItems": 400},
    "strings": {"type": "array", "items": {"type": "string", "minLength": 40}, "minItems": 400},
    "objects": {"type": "array", "items": _PERSON, "minItems": 100},
}
"""Their texts have more tokens than a request here asks for."""
_PARTS: dict[str, tuple[type, str]] = {
    "masks": (Masks, "compute"),
    "read": (TokenTable, "read"),
    "allowed": (Constraint, "allowed"),
    "draw": (Sampler, "choose"),
    "accept": (Constraint, "accept"),
    "text": (Detokenizer, "append"),
    "publish": (Sequence, "_add"),
}


class Now(NamedTuple):
    """Seconds of this thread on a CPU, and on the clock."""

    cpu: float
    clock: float

    @classmethod
    def read(cls) -> "Now":
        return cls(time.thread_time(), time.perf_counter())


@dataclass
class Between:
    """A model that notes when its passes begin and end."""

    model: ForwardPass
    name: str = "model"
    rows: list[int] = field(default_factory=list)
    began: list[Now] = field(default_factory=list)
    ended: list[Now] = field(default_factory=list)
    context_length: int = field(init=False)

    def __post_init__(self) -> None:
        self.context_length = self.model.context_length

    @property
    def blocks(self) -> BlockPool:
        return self.model.blocks

    def use_threads(self, threads: int) -> None:
        self.model.use_threads(threads)

    def forward(self, segments: list[Segment]) -> Any:
        self.began.append(Now.read())
        logits = self.model.forward(segments)
        self.ended.append(Now.read())
        self.rows.append(len(logits))
        return logits

    def row_us(self, rows: int) -> Now:
        """For each row, between a pass of this many and the next, the median; forgets them."""
        pairs = zip(self.ended, self.began[1:], self.rows, self.rows[1:], strict=False)
        counted = [(ended, began) for ended, began, *counts in pairs if counts == [rows, rows]]
        self.began, self.ended, self.rows = [], [], []
        return Now(
            *(
                statistics.median(1e6 * (began[clock] - ended[clock]) / rows for ended, began in counted)
                for clock in range(2)
            )
        )


def write(engine: Engine, schema: Any, *, requests: int, tokens: int) -> list[str]:
    """Texts at temperature 0.7, all at once."""
    grammar = None if schema is None else Grammar.of_schema(schema, field="schema")
    generations = [
        engine.submit(
            engine.prepare(
                GenerationRequest(
                    prompt=_PROMPT,
                    sampling=SamplingParams(temperature=0.7, top_k=0, seed=seed),
                    max_new_tokens=tokens,
                    ignore_eos=schema is None,
                    grammar=grammar,
                )
            )
        )
        for seed in range(requests)
    ]
    while engine.step():
        pass
    return [generation.result().text for generation in generations]


@contextmanager
def timed_parts(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time of each part of a step, which takes some time itself."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += time.thread_time() - began

        return call

    with ExitStack() as stack:
        for name, (kind, method) in _PARTS.items():
            stack.enter_context(patch.object(kind, method, timed(name, getattr(kind, method))))
        yield


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="the quick start's if left out")
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200, help="of each text")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--schemas", nargs="*", choices=SCHEMAS, default=list(SCHEMAS))
    parser.add_argument("--parts", action="store_true", help="the mean time of each part, too")
    parser.add_argument("--texts", action="store_true", help="the beginning of a text of each schema, too")
    options = parser.parse_args(arguments)
    folder = options.model or ensure_model(BASE_DIR / "var", progress)
    needed = blocks_of(options.tokens + 64) * BLOCK * options.requests
    config = EngineConfig(
        device="cpu", kv_cache_tokens=needed, max_running=options.requests, threads=options.threads,
        speculation="off",
    )  # fmt: skip
    model = Between(served_model(folder, config))
    wrapped = AutoTokenizer.from_pretrained(folder)
    loaded = kernels.load()
    engine = Engine(
        model,
        HuggingFaceTokenizer(wrapped, rows=len(wrapped)),
        config,
        draw=loaded.draw if loaded else draw,
        read_masks=loaded.read_masks if loaded else read_masks,
    )
    times: dict[str, list[Now]] = defaultdict(list)
    texts = {}
    try:
        for _ in range(options.rounds):
            for name in options.schemas:
                written = write(engine, SCHEMAS[name], requests=options.requests, tokens=options.tokens)
                times[name].append(model.row_us(options.requests))
                texts[name] = written[0]
        print(f"{describe()['cpu']}, {options.requests} texts of {options.tokens} tokens at once")
        for name in options.schemas:
            least = Now(*map(min, zip(*times[name], strict=True)))
            print(f"{name:>10}: {least.cpu:5.1f} µs of the CPU, {least.clock:5.1f} µs by the clock")
            if options.texts:
                print(f"            {texts[name][:100]!r}")
            if options.parts:
                seconds: dict[str, float] = defaultdict(float)
                with timed_parts(seconds):
                    write(engine, SCHEMAS[name], requests=options.requests, tokens=options.tokens)
                count = options.requests * options.tokens
                parts = (f"{part} {1e6 * taken / count:.1f}" for part, taken in seconds.items())
                print(f"            {', '.join(parts)}")
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
