"""Backends in front of a scripted engine, and what is asked of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inference.engine.generation import Generation
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.upstream.backend import UpstreamBackend
from inference.engine.upstream.config import UpstreamConfig
from tests.scripted_engine import ScriptedEngine, chunk

WAIT_S = 20
COMPLETIONS = "/v1/completions"
TWO = (
    chunk("Hel", usage=(5, 1), token_ids=[1]),
    chunk("lo", usage=(5, 3), token_ids=[2, 3]),
    chunk(usage=(5, 3), finish_reason="stop"),
)

Connect = Callable[..., UpstreamBackend]


@contextmanager
def connecting(engine: ScriptedEngine) -> Iterator[Connect]:
    """Makes backends that are connected to the engine, by their configuration, and stops them at the end."""
    backends = []

    def connect(**config: Any) -> UpstreamBackend:
        values = {"url": engine.url, "pause_s": 0.05, "salt_key": b"salt", **config}
        backend = UpstreamBackend(UpstreamConfig(**values), headers=lambda: {"X-Request-ID": "request-7"})
        backends.append(backend)
        backend.start()
        backend.connect()
        return backend

    yield connect
    for backend in backends:
        backend.stop()


def request(prompt: Any = "Hello", **fields: Any) -> GenerationRequest:
    sampling = fields.pop("sampling", SamplingParams(seed=3, top_k=0))
    return GenerationRequest(prompt=prompt, sampling=sampling, **{"owner": "key", "timeout_s": 20, **fields})


def submit(backend: UpstreamBackend, one: GenerationRequest) -> Generation:
    return backend.submit(backend.prepare(one))


def used(generation: Generation) -> tuple[int, int]:
    """The tokens that are charged."""
    return generation.computed_prompt_tokens, generation.completion_tokens
