"""OpenAI's official client against `/v1/responses` of the real service."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel, Field

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
    used = found[-1].response.usage
    assert used is not None
    assert whole.usage is not None
    assert (used.input_tokens, used.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)


def test_the_clients_own_snapshot_of_a_stream_is_the_response(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=QUESTION, temperature=0, max_output_tokens=30) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert snapshots[-1] == final.output_text
    assert final.status == "completed"
    whole = client.responses.create(model=model, input=QUESTION, temperature=0, max_output_tokens=30)
    assert (final.output_text, final.usage) == (whole.output_text, whole.usage)


class City(BaseModel):
    name: str = Field(pattern="^[A-Z][a-z]{2,12}$")
    millions: int = Field(ge=0, le=40)


def test_a_text_is_parsed_as_a_type_whole_and_streamed(client: openai.OpenAI, model: str) -> None:
    body: dict[str, Any] = {"model": model, "input": "Name a city.", "text_format": City}
    body |= {"max_output_tokens": 100, "temperature": 0}
    whole = client.responses.parse(**body)
    assert isinstance(whole.output_parsed, City)
    with client.responses.stream(**body) as stream:
        assert stream.get_final_response().output_parsed == whole.output_parsed


def test_a_tool_is_called_and_its_result_goes_into_the_next_input(client: openai.OpenAI, model: str) -> None:
    items: Any = [{"role": "user", "content": "Tell me about Paris."}]
    tool = openai.pydantic_function_tool(City, name="describe")["function"]
    body: dict[str, Any] = {"model": model, "tools": [{"type": "function", **tool}], "temperature": 0}
    asked: dict[str, Any] = {
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_output_tokens": 150,
    }
    with client.responses.stream(input=items, **asked, **body) as stream:
        pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        final = stream.get_final_response()
    [call] = final.output
    assert call.type == "function_call"
    City.model_validate_json(call.arguments)
    assert "".join(pieces) == call.arguments
    [whole] = client.responses.parse(input=items, **asked, **body).output
    assert whole.type == "function_call"
    assert (whole.name, whole.arguments) == (call.name, call.arguments)
    items += [call, {"type": "function_call_output", "call_id": call.call_id, "output": "Done."}]
    answer = client.responses.create(input=items, **body | {"tool_choice": "none"}, max_output_tokens=10)
    assert answer.output_text


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
