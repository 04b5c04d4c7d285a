"""OpenAI's official client against `/v1/responses` of the real service."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response

from tests.e2e.conftest import Service
from tests.sse import parse

QUESTION = "What is the capital of France?"


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0) as client:
        yield client


@pytest.fixture
def model(client: openai.OpenAI) -> str:
    [model] = client.models.list()
    return model.id


def test_a_text_is_answered(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=30)
    Response.model_validate(response.model_dump(), strict=True)
    assert "Paris" in response.output_text
    assert (response.status, response.error) == ("completed", None)
    chat = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=30
    )
    assert chat.choices[0].message.content == response.output_text
    assert chat.usage is not None
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        chat.usage.prompt_tokens,
        chat.usage.completion_tokens,
        chat.usage.total_tokens,
    )


def test_a_conversation_grows_by_the_output_of_each_response(client: openai.OpenAI, model: str) -> None:
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    for question in ("And of Italy?", "And of Spain?"):
        response = client.responses.create(
            model=model, instructions="Be brief.", input=items, temperature=0, max_output_tokens=20
        )
        chat = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=20)
        assert response.output_text == chat.choices[0].message.content
        items += [*response.output, {"role": "user", "content": question}]
        messages += [
            {"role": "assistant", "content": response.output_text},
            {"role": "user", "content": question},
        ]


def test_a_stream_is_the_unstreamed_response(client: openai.OpenAI, model: str) -> None:
    body: dict[str, Any] = {"model": model, "input": QUESTION, "temperature": 0, "max_output_tokens": 30}
    whole = client.responses.create(**body)
    with client.responses.create(**body, stream=True) as events:
        found = list(events)
    assert [event.sequence_number for event in found] == list(range(len(found)))
    text = "".join(event.delta for event in found if event.type == "response.output_text.delta")
    assert text == whole.output_text
    assert found[-1].type == "response.completed"
    assert found[-1].response.usage == whole.usage


def test_the_clients_own_snapshot_of_a_stream_is_the_response(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=QUESTION, temperature=0, max_output_tokens=30) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text
    assert final.status == "completed"
    whole = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=30)
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)


def test_the_asynchronous_client(service: Service, model: str) -> None:
    async def ask() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
            body: dict[str, Any] = {"model": model, "input": "One", "max_output_tokens": 6}
            responses = await asyncio.gather(
                *(client.responses.create(**body, extra_body={"seed": seed}) for seed in range(4))
            )
            text = ""
            async for event in await client.responses.create(**body, extra_body={"seed": 0}, stream=True):
                if event.type == "response.output_text.delta":
                    text += event.delta
        return [response.output_text for response in responses], text

    texts, streamed = asyncio.run(ask())
    assert len(set(texts)) > 1
    assert streamed == texts[0]


def test_an_unfinished_response_says_why(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


def test_what_needs_state_raises_the_right_class(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as before:
        client.responses.create(model=model, input="a", previous_response_id="resp_1")
    assert before.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError) as stored:
        client.responses.create(model=model, input="a", store=True, stream=True)
    assert stored.value.param == "store"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_1")
    with pytest.raises(openai.NotFoundError):
        client.responses.delete("resp_1")


def test_the_events_are_on_the_wire_as_openai_writes_them(service: Service, model: str) -> None:
    body = {"model": model, "input": QUESTION, "temperature": 0, "max_output_tokens": 2, "stream": True}
    headers = {"Authorization": f"Bearer {service.key}"}
    answer = httpx.post(f"{service.url}/v1/responses", json=body, headers=headers, timeout=60)
    assert answer.headers["Content-Type"] == "text/event-stream"
    events = list(parse(answer.text.split("\n")))
    assert all(event.name == event.data["type"] for event in events)
    assert events[-1].name == "response.incomplete"
