"""A soak of the engine with a tiny KV cache: `python -m benchmarks.soak.pool`. It ends with 1 at a fault.

Random prompts with shared beginnings run beside each other, more than the cache has blocks for, so that texts
are preempted and prefixes evicted all the time. Some are cancelled. Every 20th text is compared with that of
the same request alone, on an engine without a prefix cache and without drafts. At the end no block may be in
use.
"""

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from benchmarks.results import progress
from inference.engine.blocks import BLOCK
from inference.engine.config import EngineConfig, WeightDtype
from inference.engine.engine import Engine
from inference.engine.errors import Cancelled, EngineError
from inference.engine.generation import Completion, Generation
from inference.engine.grammar.source import Grammar
from inference.engine.loader import load_engine
from inference.engine.request import GenerationRequest, SamplingParams
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

_TOGETHER = 24
"""Requests that run or wait at a time."""
_COMPARED_EVERY = 20
_TOKENS = range(40, 52)
_GRAMMAR = Grammar.of_schema(
    {
        "type": "object",
        "properties": {
            "name": {"enum": ["harbour", "storm", "sea"]},
            "number": {"type": "integer", "maximum": 99},
        },
        "required": ["name", "number"],
        "additionalProperties": False,
    },
    field="grammar",
)


class Requests:
    """Random requests, many of which begin like others before.

    Args:
        most_tokens: that a prompt and its text may have together.
    """

    def __init__(self, seed: int, most_tokens: int) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._most_tokens = most_tokens
        self._beginnings = [self._tokens(most_tokens // 4) for _ in range(4)]

    def next(self) -> tuple[GenerationRequest, int | None]:
        """A request, and after how many of its tokens it is cancelled; None never."""
        chance = self._random
        beginning = chance.choice(self._beginnings)
        shared = chance.randint(0, len(beginning)) if chance.random() < 0.7 else 0
        new = chance.randint(1, self._most_tokens // 6)
        request = GenerationRequest(
            prompt=beginning[:shared] + self._tokens(chance.randint(1, self._most_tokens // 8)),
            sampling=SamplingParams(
                do_sample=chance.random() < 0.7,
                temperature=chance.uniform(0.3, 1.5),
                repetition_penalty=chance.choice((1.0, 1.0, 1.1)),
                seed=chance.randrange(1000),
            ),
            max_new_tokens=new,
            grammar=_GRAMMAR if chance.random() < 0.1 else None,
            logprobs=chance.choice((None, None, 0, 2)),
            prompt_logprobs=0 if chance.random() < 0.05 else None,
            owner=str(chance.randrange(4)),
        )
        return request, chance.randint(0, new) if chance.random() < 0.15 else None

    def _tokens(self, count: int) -> tuple[int, ...]:
        """Of few different tokens, so that texts repeat themselves and drafts are made."""
        return tuple(self._random.choice(_TOKENS) for _ in range(count))


@dataclass
class Seen:
    """What has happened so far.

    Attributes:
        faults: what must not happen.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    faults: list[str] = field(default_factory=list)


class Soak:
    """Keeps `engine` busy.

    Args:
        alone: computes the texts that are compared.
    """

    def __init__(self, engine: Engine, alone: Engine, requests: Requests) -> None:
        self.seen = Seen()
        self._engine = engine
        self._alone = alone
        self._requests = requests
        self._running: list[tuple[Generation, int | None]] = []

    def run(self, seconds: float) -> None:
        """Submit requests for so long, and wait for the last ones to end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            while len(self._running) < _TOGETHER:
                request, cancelled_after = self._requests.next()
                generation = self._engine.submit(self._engine.prepare(request))
                self._running.append((generation, cancelled_after))
            self._look()
            time.sleep(0.002)
        while self._running:
            self._look()
            time.sleep(0.002)
        self._judge_engine()

    def _look(self) -> None:
        for generation, cancelled_after in self._running:
            if cancelled_after is not None and generation.completion_tokens >= cancelled_after:
                generation.cancel()
        ended = [generation for generation, _ in self._running if generation.done]
        self._running = [(generation, after) for generation, after in self._running if not generation.done]
        for generation in ended:
            self._judge(generation)

    def _judge(self, generation: Generation) -> None:
        seen, outcome = self.seen, generation.outcome
        seen.outcomes[type(outcome).__name__] += 1
        if isinstance(outcome, EngineError) and not (isinstance(outcome, Cancelled) and generation.cancelled):
            seen.faults.append(f"{type(outcome).__name__}: {outcome}: {generation.request}")
        elif isinstance(outcome, Completion) and seen.outcomes["Completion"] % _COMPARED_EVERY == 0:
            seen.compared += 1
            expected = self._alone.submit(self._alone.prepare(generation.request)).result()
            if outcome != expected:
                seen.faults.append(
                    f"Another text than alone: {outcome.text!r} {expected.text!r}: {generation.request}"
                )
            progress(f"{seen.outcomes.total()} requests, {seen.compared} compared, {len(seen.faults)} faults")

    def _judge_engine(self) -> None:
        # A request ends a little before its step does.
        until = time.monotonic() + 5
        while (load := self._engine.load).running and time.monotonic() < until:
            time.sleep(0.01)
        if load.running or load.queued or load.kv_tokens_used:
            self.seen.faults.append(f"Nothing is asked for, and this is in use: {load}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak.pool", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--blocks", type=int, default=32, help="of 16 tokens, in the KV cache")
    parser.add_argument("--dtype", choices=get_args(WeightDtype), default="float32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of each engine; 0 takes all CPUs")
    parser.add_argument("--model", type=Path, help="folder of a model; the quick-start model by default")
    given = parser.parse_args(argv)
    model = given.model or ensure_model(BASE_DIR / "var", progress)
    engine, alone = (
        load_engine(
            model,
            name="soak",
            config=EngineConfig(
                kv_cache_tokens=given.blocks * BLOCK,
                dtype=given.dtype,
                threads=given.threads,
                prefill_tokens_shared=48,
                speculation="off" if by_itself else "auto",
                prefix_cache="off" if by_itself else "per_key",
            ),
        )
        for by_itself in (False, True)
    )
    try:
        soak = Soak(engine, alone, Requests(given.seed, most_tokens=engine.context_length))
        soak.run(given.seconds)
    finally:
        engine.stop()
        alone.stop()
    seen, work = soak.seen, engine.work
    print(
        f"{', '.join(f'{name} {count}' for name, count in sorted(seen.outcomes.items()))}; "
        f"{seen.compared} compared; {work.preemptions} preemptions, {work.prefixes.hits} prefixes found, "
        f"{work.prefixes.evictions} blocks evicted, {work.accepted} of {work.drafted} drafts accepted"
    )
    print("\n".join(seen.faults) or "No text differs, and no block is lost.")
    return int(bool(seen.faults))


if __name__ == "__main__":
    sys.exit(main())
