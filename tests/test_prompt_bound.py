"""A prompt that cannot fit by its characters is refused before it is tokenised, and no other is."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from inference.engine.errors import PromptTooLong
from inference.engine.prompt_bound import prompt_bound
from inference.engine.request import Chat, GenerationRequest, SamplingParams
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.examples import examples
from tests.models import byte_tokenizer, tiny_engine
from tests.tokenizer_families import FAMILIES

# Two letters of é, as it is composed and decomposed, and words of the small vocabularies.
TEXT = st.lists(
    st.text(max_size=20)
    | st.sampled_from(
        ["a", " Hello", "é", "e\u0301", "\u1f82", "\u03b1\u0313\u0300\u0345", "世", "😀", "<tool>"]
    )
    | st.sampled_from([" " * 50, "ab" * 30, "\n\t", "<|im_start|>", "▁", "﷽"]),
    max_size=30,
).map("".join)


def merging(
    *,
    normalizer: normalizers.Normalizer | None = None,
    pre_tokenizer: pre_tokenizers.PreTokenizer | None = None,
    missing: str = "",
    added: AddedToken | None = None,
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with merges up to ` aaaa`, and without the letters of `missing`."""
    alphabet = [letter for letter in sorted(pre_tokenizers.ByteLevel.alphabet()) if letter not in missing]
    merges = [("a", "a"), ("aa", "aa"), ("Ġ", "aaaa"), ("Ã", "©"), ("Ġ", "Ġ"), ("ĠĠ", "ĠĠ"), ("â", "ĸ")]
    space = "âĸģ"  # the bytes of ▁
    merges += [("âĸ", "ģ"), (space, space), (space * 2, space * 2), (space * 4, space * 4)]
    vocabulary = {token: i for i, token in enumerate([*alphabet, *map("".join, merges)])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    parts = [part for part in (pre_tokenizer, byte_level) if part is not None]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    if added is not None:
        tokenizer.add_tokens([added])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    **FAMILIES,
    "with merges": merging,
    "composed": lambda: merging(normalizer=normalizers.NFC()),
    "compatible": lambda: merging(normalizer=normalizers.NFKC()),
    "composed after decomposition": lambda: merging(
        normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.NFC()])
    ),
    "stripped": lambda: merging(normalizer=normalizers.Strip()),
    "replaced by less": lambda: merging(normalizer=normalizers.Replace("Hello", "")),
    "split at white space": lambda: merging(pre_tokenizer=pre_tokenizers.WhitespaceSplit()),
    "split, and the separator removed": lambda: merging(
        pre_tokenizer=pre_tokenizers.Split("a", behavior="removed")
    ),
    "metaspace before bytes": lambda: merging(pre_tokenizer=pre_tokenizers.Metaspace(split=False)),
    "a letter missing": lambda: merging(missing="b"),
    "an added token that takes white space": lambda: merging(
        added=AddedToken("<tool>", lstrip=True, rstrip=True)
    ),
    "an added token of composed letters": lambda: merging(
        normalizer=normalizers.NFC(), added=AddedToken("é" * 30, normalized=True)
    ),
    "an added token with a missing letter": lambda: merging(missing="b", added=AddedToken("ab" * 30)),
    "a long added token": lambda: merging(added=AddedToken("ab" * 30)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_has_fewer_tokens_than_its_bound(kind: str) -> None:
    wrapped = KINDS[kind]()
    bound = prompt_bound(wrapped)
    # Each breaks the bound of one kind if what that kind does to a text is overlooked.
    texts = (" " * 50, "b" * 200, "ab" * 30, " " * 50 + "<tool>" + " " * 50, "e\u0301" * 30, "x" * 200)

    def holds(text: str) -> None:
        assert bound(text) <= len(wrapped(text, add_special_tokens=False)["input_ids"])

    for text in texts:
        holds(text)
    settings(max_examples=examples(60), deadline=None)(given(text=TEXT)(holds))()


@pytest.mark.parametrize(
    ("kind", "text", "least"),
    [
        ("with merges", " aaaa" * 100, 100),
        ("with merges", "é" * 100, 100),
        ("with merges", "b" * 100, 100),
        ("composed", "a" * 9600, 100),
        ("llama", "a" * 1200, 100),
        ("gemma", "a" * 1200, 100),
        ("byte-level", "😀" * 100, 80),
    ],
)
def test_the_bound_is_as_high_as_the_longest_tokens_allow(kind: str, text: str, least: int) -> None:
    assert prompt_bound(KINDS[kind]())(text) >= least


def test_a_prompt_that_cannot_fit_is_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine(start=False)

    def encode(self: HuggingFaceTokenizer, prompt: Any, **how: Any) -> tuple[int, ...]:
        raise AssertionError("the prompt was tokenised")

    monkeypatch.setattr(HuggingFaceTokenizer, "encode", encode)
    for prompt in ("a" * 100_000, (1,) * 100_000):
        with pytest.raises(PromptTooLong, match=r"at least 100000 tokens .* at most 256 fit"):
            engine.prepare(GenerationRequest(prompt=prompt, max_new_tokens=1, sampling=SamplingParams()))


def test_a_conversation_has_no_bound() -> None:
    tokenizer = HuggingFaceTokenizer(byte_tokenizer(), rows=257)
    assert tokenizer.least_tokens(Chat(({"role": "user", "content": "x" * 1000},))) == 0
