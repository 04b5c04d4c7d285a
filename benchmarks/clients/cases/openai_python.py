"""OpenAI's official client for Python; `tests/e2e/test_openai_client.py` looks at it closely."""

import asyncio
from typing import Any

import openai

from benchmarks.clients.client import Client, Served, ensure

client = Client("openai", package="openai")

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


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
