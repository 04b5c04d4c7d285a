"""Several tokens of a text in one step: tokens per second of one request, with and without.

`python -m benchmarks.speculation [MODEL]` computes five fixed tasks in turns with `LLM_SPECULATION=auto` and
`off`, greedily. The first three repeat what stands before; the others are free text.
"""

import argparse
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.generation import Completion
from inference.engine.grammar.source import Grammar
from inference.engine.loader import load_engine
from inference.engine.request import Chat, GenerationRequest, SamplingParams

_TEXT = (
    "The harbour master keeps a list of every ship that enters the bay. Each ship reports its name, its "
    "length and the port from which it comes. The harbour master writes the report into a green book, and "
    "at night the clerk copies the green book into a ledger. The ledger is kept in a dry room above the "
    "customs house, where the harbour master and the clerk may read it. Once a year the ledger is sent to "
    "the capital."
)
_CODE = """class Inventory:
    def __init__(self):
        self.items_by_name = {}

    def add_item(self, item_name, item_count):
        if item_name not in self.items_by_name:
            self.items_by_name[item_name] = 0
        self.items_by_name[item_name] += item_count

    def remove_item(self, item_name, item_count):
        if item_name not in self.items_by_name:
"""
_RECORDS = "".join(
    f"Order {4100 + i}: customer {name} bought {i + 2} chairs for {90 + 35 * i} euros on 2024-03-{i + 10}.\n"
    for i, name in enumerate(
        ("Anna Berg", "Luis Romero", "Mary Stone", "Ivan Petrov", "Chen Wei", "Sara Lind")
    )
)
_ORDERS = Grammar.of_schema(
    {
        "type": "array",
        "minItems": 6,
        "maxItems": 6,
        "items": {
            "type": "object",
            "properties": {
                "order": {"type": "integer"},
                "customer": {"type": "string"},
                "chairs": {"type": "integer"},
                "euros": {"type": "integer"},
                "date": {"type": "string", "format": "date"},
            },
            "required": ["order", "customer", "chairs", "euros", "date"],
            "additionalProperties": False,
        },
    },
    field="grammar",
)


@dataclass(frozen=True)
class Task:
    """A prompt, and what ends its text before `_TOKENS`."""

    prompt: Chat | str
    ends: bool = True
    grammar: Grammar | None = None


def _chat(content: str) -> Chat:
    return Chat(({"role": "user", "content": content},))


_TASKS = {
    "edit": Task(_chat(f"Copy this text and replace 'green' by 'red':\n\n{_TEXT}")),
    "extraction": Task(_chat(f"List all orders as JSON:\n\n{_RECORDS}"), grammar=_ORDERS),
    "code": Task(_CODE),
    "story": Task(_chat("Tell me a story about a lighthouse and a storm."), ends=False),
    "explanation": Task(_chat("Why is the sky blue, and red in the evening?"), ends=False),
}
_TOKENS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=Path("var/models/SmolLM2-135M-Instruct"))
    parser.add_argument("--dtype", choices=("float32", "int8", "auto"), default="float32")
    parser.add_argument("--tasks", nargs="*", choices=list(_TASKS), default=list(_TASKS))
    parser.add_argument("--threads", type=int, default=0, help="0 takes all CPUs")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    config = EngineConfig(kv_cache_tokens=2048, dtype=options.dtype, threads=options.threads)
    engines = [
        load_engine(options.model, name="model", config=replace(config, speculation=mode))
        for mode in ("auto", "off")
    ]
    for name in options.tasks:
        task = _TASKS[name]
        speeds: list[list[float]] = [[], []]
        texts = set()
        for _ in range(options.rounds):
            for engine, measured in zip(engines, speeds, strict=True):
                completion, speed = _tokens_per_s(engine, task)
                measured.append(speed)
                texts.add(completion.token_ids)
        fast, slow = (statistics.median(measured) for measured in speeds)
        same = "same text" if len(texts) == 1 else "TEXTS DIFFER"
        print(
            f"{name:>12}: {fast:6.1f} tokens/s, {slow:6.1f} without, ratio {fast / slow:.2f}, {same}",
            flush=True,
        )
    work = engines[0].work
    print(f"{work.drafted} tokens drafted, {work.accepted} accepted, {work.completion_tokens} in all")
    for engine in engines:
        engine.stop()


def _tokens_per_s(engine: Engine, task: Task) -> tuple[Completion, float]:
    """The text of a task, and the tokens per second after its first."""
    request = GenerationRequest(
        prompt=task.prompt,
        sampling=SamplingParams(do_sample=False),
        max_new_tokens=_TOKENS,
        ignore_eos=not task.ends,
        grammar=task.grammar,
    )
    generation = engine.submit(engine.prepare(request))
    completion = generation.result()
    assert generation.first_token_at is not None  # noqa: S101
    assert generation.last_token_at is not None  # noqa: S101
    return completion, (completion.completion_tokens - 1) / (
        generation.last_token_at - generation.first_token_at
    )


if __name__ == "__main__":
    main()
