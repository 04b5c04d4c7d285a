"""OpenAI's official client for Python; `tests/e2e/test_openai_client.py` looks at it closely."""

import asyncio
import datetime
import enum
from typing import Any

import openai
from pydantic import BaseModel, Field

from benchmarks.clients.client import Client, Served, ensure

client = Client("openai", package="openai")

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


class Size(enum.Enum):
    SMALL = "small"
    BIG = "big"


class Founder(BaseModel):
    name: str = Field(max_length=12)
    born: datetime.date | None


class City(BaseModel):
    """What the client makes of it has definitions, references, a union with null, an enum and a format."""

    name: str = Field(max_length=12)
    size: Size
    founders: list[Founder] = Field(min_length=1, max_length=1)


@client.check
def chat(served: Served) -> str:
    """Chat, whole and streamed, synchronous and asynchronous: the same text"""
    asked: dict[str, Any] = {"model": served.model, "messages": QUESTION, "seed": 1, "max_tokens": 16}
    with openai.OpenAI(base_url=served.api, api_key=served.key, max_retries=0) as ours:
        whole = ours.chat.completions.create(**asked)
        with ours.chat.completions.create(**asked, stream=True) as stream:
            streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    async def later() -> str | None:
        async with openai.AsyncOpenAI(base_url=served.api, api_key=served.key, max_retries=0) as ours:
            answer = await ours.chat.completions.create(**asked)
        content: str | None = answer.choices[0].message.content
        return content

    texts = [whole.choices[0].message.content, streamed, asyncio.run(later())]
    ensure(bool(texts[0]) and texts == [texts[0]] * 3, texts)
    return repr(texts[0])


@client.check
def structured(served: Served) -> str:
    """Pydantic models: parse and stream, as the answer and as the arguments of a function"""
    asked: dict[str, Any] = {"model": served.model, "messages": QUESTION, "temperature": 0, "max_tokens": 400}
    function: dict[str, Any] = {
        "tools": [openai.pydantic_function_tool(City)],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    parsed: list[Any] = []
    with openai.OpenAI(base_url=served.api, api_key=served.key, max_retries=0) as ours:
        completions = ours.chat.completions
        parsed.append(completions.parse(**asked, response_format=City).choices[0].message.parsed)
        with completions.stream(**asked, response_format=City) as stream:
            parsed.append(stream.get_final_completion().choices[0].message.parsed)
        called = completions.parse(**asked, **function).choices[0].message
        with completions.stream(**asked, **function) as stream:
            streamed = stream.get_final_completion().choices[0].message
        for message in (called, streamed):
            parsed += [call.function.parsed_arguments for call in message.tool_calls or ()]
    ensure(len(parsed) == 4 and all(isinstance(one, City) for one in parsed), parsed)
    ensure(parsed[0] == parsed[1] and parsed[2] == parsed[3], parsed)
    return repr(parsed[0])


@client.check
def errors(served: Served) -> None:
    """A wrong key and a wrong field raise the right classes"""
    try:
        openai.OpenAI(base_url=served.api, api_key="wrong", max_retries=0).models.list()
        ensure(False, "a wrong key was accepted")
    except openai.AuthenticationError:
        pass
    try:
        ours = openai.OpenAI(base_url=served.api, api_key=served.key, max_retries=0)
        ours.chat.completions.create(model=served.model, messages=QUESTION, temperature=3)
        ensure(False, "temperature 3 was accepted")
    except openai.BadRequestError as error:
        ensure(error.param == "temperature", error)
