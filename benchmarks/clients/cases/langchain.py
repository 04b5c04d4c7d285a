"""LangChain's `ChatOpenAI` and `OpenAI`."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import openai
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field, SecretStr

from benchmarks.clients.client import Client, Failed, Served, ensure

client = Client("LangChain", package="langchain-openai")

QUESTION = "What is the capital of France?"


class Mayor(BaseModel):
    """Its optional field is a union with null, and its class a definition of the schema."""

    name: str = Field(max_length=12)
    since: Annotated[int, Field(ge=1900, le=2100)] | None = None


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=12)
    size: Literal["small", "big"]
    mayors: list[Mayor] = Field(min_length=1, max_length=1)


CAPITAL = {
    "title": "Capital",
    "type": "object",
    "properties": {"name": {"const": "Paris"}},
    "required": ["name"],
    "additionalProperties": False,
}


@tool
def weather(city: Annotated[str, Field(max_length=12)]) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


def access(served: Served) -> dict[str, Any]:
    """What each of LangChain's classes is told of the service."""
    key = SecretStr(served.key)
    return {"base_url": served.api, "api_key": key, "model": served.model, "max_retries": 0}


def chat(served: Served, **more: Any) -> ChatOpenAI:
    options = {"seed": 5, "max_tokens": 16, **more}
    return ChatOpenAI(**access(served), **options)


@client.check
def invoke(served: Served) -> str:
    """ChatOpenAI: invoke, with the usage and why the text ended"""
    answer = chat(served, temperature=0).invoke(QUESTION)
    usage: Any = answer.usage_metadata
    ensure(usage is not None and 0 < usage["output_tokens"] <= 16, usage)
    ensure(usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"], usage)
    ensure(answer.response_metadata["finish_reason"] in {"stop", "length"}, answer.response_metadata)
    return repr(answer.content)


@client.check
def stream(served: Served) -> str:
    """ChatOpenAI: stream, with the usage; ainvoke and astream: the same text for the same seed"""
    asked = chat(served, stream_usage=True)
    whole = asked.invoke(QUESTION)
    chunks = list(asked.stream(QUESTION))
    streamed = chunks[0]
    for chunk in chunks[1:]:
        streamed += chunk
    ensure(streamed.usage_metadata == whole.usage_metadata, streamed.usage_metadata)

    async def later() -> list[str]:
        answer = await asked.ainvoke(QUESTION)
        return [str(answer.content), "".join([str(piece.content) async for piece in asked.astream(QUESTION)])]

    texts = [str(whole.content), str(streamed.content), *asyncio.run(later())]
    ensure(texts == [texts[0]] * 4, texts)
    return f"{len(chunks)} chunks"


@client.check
def batch(served: Served) -> None:
    """ChatOpenAI: batch of 16, the same texts when it is repeated"""
    questions: Any = [f"Say the number {number}." for number in range(16)]
    first, second = ([answer.content for answer in chat(served).batch(questions)] for _ in range(2))
    ensure(len(first) == 16 and first == second, [first, second])


@client.check
def logprobs(served: Served) -> None:
    """ChatOpenAI: log-probabilities with alternatives"""
    answer = chat(served, temperature=0).bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    for token in answer.response_metadata["logprobs"]["content"]:
        ensure(token["logprob"] == token["top_logprobs"][0]["logprob"], token)


@client.check
def structured(served: Served) -> str:
    """ChatOpenAI: with_structured_output by each method, whole and streamed"""
    asked = chat(served, max_tokens=400, temperature=0)
    city: Any = asked.with_structured_output(City).invoke(QUESTION)
    parsed: list[Any] = [
        city,
        list(asked.with_structured_output(City).stream(QUESTION))[-1],
        asked.with_structured_output(City, method="function_calling", strict=True).invoke(QUESTION),
    ]
    ensure(all(isinstance(one, City) for one in parsed), parsed)
    capital = asked.with_structured_output(CAPITAL).invoke(QUESTION)
    ensure(capital == {"name": "Paris"}, capital)
    return repr(city)


@client.check
def tools(served: Served) -> str:
    """ChatOpenAI: bind_tools with each choice that needs a call, and the results sent back"""
    asked = chat(served, max_tokens=200)
    messages: list[BaseMessage] = [HumanMessage("What is the weather in Paris?")]
    for choice in ("any", "weather", {"type": "function", "function": {"name": "weather"}}):
        bound = asked.bind_tools([weather], tool_choice=choice, strict=True, parallel_tool_calls=False)
        answer = bound.invoke(messages)
        ensure([call["name"] for call in answer.tool_calls] == ["weather"], answer)
        messages += [answer, *(weather.invoke(call) for call in answer.tool_calls)]
    streamed: Any = None
    for chunk in bound.stream(messages[:1]):
        streamed = chunk if streamed is None else streamed + chunk
    ensure(len(streamed.tool_calls) == 1 and set(streamed.tool_calls[0]["args"]) == {"city"}, streamed)
    last = asked.bind_tools([weather], tool_choice="none").invoke(messages)
    ensure(bool(last.content) and not last.tool_calls, last)
    return repr(last.content)


@client.check
def errors(served: Served) -> None:
    """ChatOpenAI: errors are of OpenAI's classes, and name the field"""
    wrong: Any = {"temperature": 3}
    _raises(openai.BadRequestError, lambda: chat(served, **wrong).invoke("a"), "temperature")
    _raises(openai.AuthenticationError, lambda: chat(replace(served, key="wrong")).invoke("a"))
    _raises(openai.NotFoundError, lambda: chat(replace(served, model="gpt-4o")).invoke("a"), "gpt-4o")


@client.check
def completions(served: Served) -> None:
    """OpenAI: invoke, stream and batch of completions, the same text for the same seed"""
    asked = OpenAI(**access(served), seed=5, max_tokens=12)
    whole = asked.invoke("The sea")
    texts = ["".join(asked.stream("The sea")), *asked.batch(["The sea"] * 4)]
    ensure(texts == [whole] * 5, [whole, texts])


@client.check
def embeddings(served: Served) -> None:
    """OpenAIEmbeddings: refused with 404, since the service has none"""
    asked = OpenAIEmbeddings(**access(served), check_embedding_ctx_length=False)
    _raises(openai.NotFoundError, lambda: asked.embed_query("a"))


def _raises(kind: type[Exception], call: Callable[[], object], names: str = "") -> None:
    try:
        answer = call()
    except kind as error:
        ensure(names in str(error), error)
    else:
        raise Failed(f"{kind.__name__} was expected, and came {answer}")
