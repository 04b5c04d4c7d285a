"""`POST /v1/completions`."""

from typing import Any

import pytest
from django.test import Client

from accounts.models import DailyUsage
from tests.models import END_OF_TEXT, byte_tokenizer
from tests.openai_api import PROMPT, chunks

pytestmark = pytest.mark.django_db


def test_a_completion_is_the_text_of_generate(call: Any, client: Client, key: str) -> None:
    answer = call("completions", prompt=PROMPT, temperature=0, max_tokens=8).json()
    body = {"prompt": PROMPT, "do_sample": False, "max_new_tokens": 8}
    expected = client.post("/generate", body, "application/json", headers={"X-API-Key": key}).json()
    assert answer["object"] == "text_completion"
    text, reason = expected["completion"], expected["finish_reason"]
    assert answer["choices"] == [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]
    assert answer["usage"] == expected["usage"] | {"prompt_tokens_details": {"cached_tokens": 0}}


def test_sixteen_tokens_where_max_tokens_is_absent(call: Any) -> None:
    assert call("completions", prompt=PROMPT).json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("prompt", "texts"),
    # A whole number may be written with a fraction, as JSON Schema has it.
    [("ab", 1), (["ab", "cd"], 2), ([65, 66.0], 1), ([[65, 66], [67.0], [68]], 3)],
)
def test_prompts_of_every_kind_get_n_choices_each(call: Any, prompt: Any, texts: int) -> None:
    answer = call("completions", prompt=prompt, n=2, max_tokens=3).json()
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * texts))
    assert answer["usage"]["completion_tokens"] == 2 * texts * 3
    assert answer["usage"]["prompt_tokens"] == sum(len(one) for one in prompt) if texts > 1 else 2


def test_choices_are_seeded_one_after_another_and_each_prompt_counts_once(call: Any) -> None:
    together = call("completions", prompt=PROMPT, n=3, seed=5, max_tokens=12).json()
    alone = [
        call("completions", prompt=PROMPT, seed=5 + i, max_tokens=12).json()["choices"][0]["text"]
        for i in range(3)
    ]
    assert [choice["text"] for choice in together["choices"]] == alone
    assert together["usage"]["prompt_tokens"] == len(PROMPT)
    used = DailyUsage.objects.get()
    assert (used.prompt_tokens, used.completion_tokens, used.finished) == (4 * len(PROMPT), 72, 4)


def test_choices_of_a_negative_seed_differ(call: Any) -> None:
    answer = call("completions", prompt=PROMPT, n=3, seed=-1, max_tokens=12).json()
    assert len({choice["text"] for choice in answer["choices"]}) == 3


def test_echo_is_the_prompt_as_it_was_sent(call: Any) -> None:
    prompt = f"a{END_OF_TEXT}b"
    [choice] = call("completions", prompt=prompt, echo=True, max_tokens=1).json()["choices"]
    assert choice["text"].startswith(prompt)


def test_a_top_p_of_zero_takes_the_most_likely_token(call: Any) -> None:
    texts = [
        call("completions", prompt=PROMPT, max_tokens=8, **how).json()["choices"][0]["text"]
        for how in ({"top_p": 0, "seed": 1}, {"temperature": 0})
    ]
    assert texts[0] == texts[1]


def test_a_stream_is_the_unstreamed_answer(call: Any) -> None:
    body = {"prompt": PROMPT, "n": 2, "seed": 3, "logprobs": 2, "echo": True, "max_tokens": 12}
    whole = call("completions", **body).json()
    streamed = chunks(call("completions", **body, stream=True, stream_options={"include_usage": True}))
    assert {chunk["id"] for chunk in streamed} == {streamed[0]["id"]}
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [part for chunk in streamed for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [x for part in parts if part["logprobs"] for x in part["logprobs"][name]] == choice[
                "logprobs"
            ][name]


def test_each_chunk_of_a_stream_says_how_many_tokens_came_until_then(call: Any) -> None:
    body = {"prompt": PROMPT, "n": 2, "max_tokens": 6, "return_token_ids": True, "stream": True}
    streamed = chunks(call("completions", **body, stream_options={"continuous_usage_stats": True}))
    received = 0
    for chunk in streamed:
        received += sum(len(choice["token_ids"]) for choice in chunk["choices"])
        assert chunk["usage"]["completion_tokens"] == received
        assert chunk["usage"]["total_tokens"] == chunk["usage"]["prompt_tokens"] + received
    assert received == 12


def test_the_log_probabilities_of_a_prompt_as_lm_eval_asks_for_them(call: Any) -> None:
    [choice] = call(
        "completions", prompt=[65, 66, 67], echo=True, max_tokens=0, logprobs=1, temperature=0
    ).json()["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == byte_tokenizer().decode([65, 66, 67])
    assert logprobs["tokens"] == [byte_tokenizer().decode([i]) for i in (65, 66, 67)]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    for token, logprob, top in list(
        zip(*(logprobs[n] for n in ("tokens", "token_logprobs", "top_logprobs")), strict=True)
    )[1:]:
        assert logprob < 0
        assert top[token] == logprob
        assert max(top.values()) >= logprob
    assert logprobs["text_offset"] == [0, 1, 2]
