"""OpenAI's official client against the real service."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Service

CHAT: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as client:
        yield client


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    [model] = client.models.list()
    return model.id


def test_the_model(client: openai.OpenAI, model: str) -> None:
    assert client.models.retrieve(model).id == model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_a_chat_with_an_answer(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=CHAT, temperature=0, max_tokens=20)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 20


def test_streams_are_the_unstreamed_texts(client: openai.OpenAI, model: str) -> None:
    body: dict[str, Any] = {"model": model, "messages": CHAT, "seed": 4, "max_tokens": 20}
    whole = client.chat.completions.create(**body)
    with client.chat.completions.create(
        **body, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    used = chunks[-1].usage
    assert used is not None
    assert whole.usage is not None
    assert (used.prompt_tokens, used.completion_tokens) == (
        whole.usage.prompt_tokens,
        whole.usage.completion_tokens,
    )

    asked: dict[str, Any] = {"model": model, "prompt": "The sea", "seed": 4, "n": 2, "max_tokens": 12}
    texts = [choice.text for choice in client.completions.create(**asked).choices]
    pieces = ["", ""]
    for chunk in client.completions.create(**asked, stream=True):
        pieces[chunk.choices[0].index] += chunk.choices[0].text
    assert pieces == texts


def test_log_probabilities(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=CHAT, temperature=0, max_tokens=5, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    text = b"".join(bytes(token.bytes or []) for token in logprobs.content).decode()
    assert text.startswith(answer.choices[0].message.content or "")
    for token in logprobs.content:
        assert token.logprob == token.top_logprobs[0].logprob <= 0  # greedy takes the most likely


def test_the_asynchronous_client(service: Service, model: str) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
            answers = await asyncio.gather(
                *(
                    client.completions.create(model=model, prompt="One", seed=i, max_tokens=6)
                    for i in range(4)
                )
            )
            stream = await client.completions.create(
                model=model, prompt="One", seed=0, max_tokens=6, stream=True
            )
            streamed = "".join([chunk.choices[0].text async for chunk in stream])
        assert streamed == answers[0].choices[0].text
        return [answer.choices[0].text for answer in answers]

    assert len(asyncio.run(ask())) == 4


def test_errors_are_the_right_classes(service: Service, client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model=model, messages=CHAT, temperature=3)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=model, prompt="word " * 20_000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="wrong").models.list()
    usage_only = service.create_key("usage only", "--scope", "usage")
    other = openai.OpenAI(base_url=f"{service.url}/v1", api_key=usage_only)
    with pytest.raises(openai.PermissionDeniedError):
        other.completions.create(model=model, prompt="a")


def test_the_client_waits_for_a_limit_by_itself(service: Service, model: str) -> None:
    key = service.create_key("narrow", "--requests-per-minute", "120", "--burst", "1")
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=10, timeout=120)

    def ask(seed: int) -> str:
        return client.completions.create(model=model, prompt="Two", seed=seed, max_tokens=8).choices[0].text

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(ask, range(3)))
    assert '"POST /v1/completions" 429' in service.log.read_text()
    assert together == [ask(seed) for seed in range(3)]


def test_used_up_tokens_are_not_tried_again(service: Service, model: str) -> None:
    key = service.create_key("used up", "--tokens-per-day", "20")
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=5)
    client.completions.create(model=model, prompt="a", max_tokens=12)
    sent: list[Any] = []
    counting = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
    client = client.with_options(http_client=counting)
    with pytest.raises(openai.RateLimitError) as exhausted:
        client.completions.create(model=model, prompt="a", max_tokens=12)
    assert exhausted.value.code == "insufficient_quota"
    assert len(sent) == 1


def test_a_client_that_gives_up_cancels_its_request(service: Service, model: str) -> None:
    """By its timeout, by closing a stream, and by cancelling a task."""
    key = service.create_key("impatient")
    body: dict[str, Any] = {
        "model": model,
        "prompt": "One",
        "max_tokens": 1024,
        "extra_body": {"ignore_eos": True},
    }

    async def cancel() -> None:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
            await asyncio.wait_for(client.completions.create(**body), 1)

    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=1).completions.create(**body)
        stream = client.completions.create(**body, stream=True)
        assert next(stream).choices[0].index == 0
        stream.close()
    with pytest.raises(TimeoutError):
        asyncio.run(cancel())
    until = time.monotonic() + 30
    while (requests := _requests_of_today(service, key))["cancelled"] < 3:
        assert time.monotonic() < until, requests
        time.sleep(0.2)
    assert requests["finished"] == 0


def _requests_of_today(service: Service, key: str) -> dict[str, int]:
    today = httpx.get(f"{service.url}/keys/me", headers={"X-API-Key": key}).json()["today"]
    requests: dict[str, int] = today["requests"]
    return requests
