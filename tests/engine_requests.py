"""Requests to a tiny engine, as the tests of the engine make them."""

from functools import cache

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.generation import Generation
from inference.engine.request import GenerationRequest, SamplingParams
from tests.models import byte_tokenizer, tiny_engine


@cache
def _token_ids(prompt: str) -> tuple[int, ...]:
    return tuple(byte_tokenizer()(prompt)["input_ids"])


def request(prompt: str = "Hello", *, new: int = 20, seed: int = 1, **more: object) -> GenerationRequest:
    fields: dict[str, object] = {"sampling": SamplingParams(seed=seed), "max_new_tokens": new, **more}
    return GenerationRequest(prompt=_token_ids(prompt), **fields)  # type: ignore[arg-type]


def submit(engine: Engine, request: GenerationRequest) -> Generation:
    return engine.submit(engine.prepare(request))


def stepped_engine() -> Engine:
    """An engine for four running and four waiting requests that computes only when the test calls `step`."""
    return tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=4, max_queued=4), start=False)


def full_engine() -> tuple[Engine, list[Generation]]:
    """The same with four running requests of one owner, "first", whom no test uses."""
    engine = stepped_engine()
    running = [submit(engine, request(seed=i, owner="first")) for i in range(4)]
    engine.step()
    return engine, running


def finish(engine: Engine, *, most: int = 2000) -> None:
    for _ in range(most):
        if not engine.step():
            return
    raise AssertionError("The engine does not come to an end")


def alone(one: GenerationRequest) -> str:
    """The text of a request by itself, a token in each step, of which nothing was computed before."""
    config = EngineConfig(kv_cache_tokens=4096, speculation="off", prefix_cache="off")
    engine = tiny_engine(config, start=False)
    generation = submit(engine, one)
    finish(engine)
    return generation.result().text
