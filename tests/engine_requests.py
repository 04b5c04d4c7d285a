"""Requests to a tiny engine, as the tests of the engine make them."""

from inference.engine.engine import Engine
from inference.engine.request import Generation, GenerationRequest, SamplingParams
from tests.models import byte_tokenizer, tiny_engine


def request(prompt: str = "Hello", *, new: int = 20, seed: int = 1, **more: object) -> GenerationRequest:
    fields: dict[str, object] = {"sampling": SamplingParams(seed=seed), "max_new_tokens": new, **more}
    return GenerationRequest(prompt=tuple(byte_tokenizer()(prompt)["input_ids"]), **fields)  # type: ignore[arg-type]


def submit(engine: Engine, request: GenerationRequest) -> Generation:
    return engine.submit(engine.prepare(request))


def finish(engine: Engine, *, most: int = 2000) -> None:
    for _ in range(most):
        if not engine.step():
            return
    raise AssertionError("The engine does not come to an end")


def alone(one: GenerationRequest) -> str:
    engine = tiny_engine(start=False)
    generation = submit(engine, one)
    finish(engine)
    return generation.result().text
