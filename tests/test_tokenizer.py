"""What a request may carry as its prompt: text, token ids or a conversation."""

import pytest

from inference.engine.errors import InvalidChat, TokenWithoutEmbedding
from inference.engine.request import Chat
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.models import END_OF_TEXT, byte_tokenizer

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ message.role }}:{{ message.content }}" + END_OF_TEXT + "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def tokenizer(*, template: str | None = None) -> HuggingFaceTokenizer:
    wrapped = byte_tokenizer()
    wrapped.chat_template = template
    return HuggingFaceTokenizer(wrapped, rows=257)


def test_a_conversation_is_laid_out_by_the_template_up_to_where_the_answer_begins() -> None:
    known = tokenizer(template=TEMPLATE)
    laid_out = known.encode(Chat(({"role": "user", "content": "Hi"},)))
    assert laid_out == known.encode(f"user:Hi{END_OF_TEXT}assistant:")
    assert laid_out.count(known.special_ids[END_OF_TEXT]) == 1


def test_a_model_without_a_template_refuses_a_conversation() -> None:
    with pytest.raises(InvalidChat, match="no chat template"):
        tokenizer().encode(Chat(({"role": "user", "content": "Hi"},)))


def test_what_the_template_says_against_the_messages_is_told() -> None:
    with pytest.raises(InvalidChat, match="no tools here"):
        tokenizer(template=TEMPLATE).encode(Chat(({"role": "tool", "content": "1"},)))


def test_token_ids_are_taken_as_they_are_if_the_model_has_them() -> None:
    assert tokenizer().encode((5, 256, 0)) == (5, 256, 0)
    with pytest.raises(TokenWithoutEmbedding):
        tokenizer().encode((5, 257))
