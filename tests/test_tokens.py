import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import tokens

# Computed by hand from the documented format, so that a change of the format is noticed: secrets that were
# issued earlier must stay well-formed.
KNOWN = "llms_0123456789ABCDEFGHIJKLMNOPQRSTUV2xSofZ"


def test_a_generated_secret_has_the_documented_form() -> None:
    secret = tokens.generate()
    assert re.fullmatch(r"llms_[0-9A-Za-z]{38}", secret)
    assert tokens.is_well_formed(secret)
    assert tokens.is_acceptable(secret)


def test_generated_secrets_differ() -> None:
    assert len({tokens.generate() for _ in range(1000)}) == 1000


def test_a_secret_issued_earlier_stays_well_formed() -> None:
    assert tokens.is_well_formed(KNOWN)


@given(st.integers(min_value=5, max_value=42), st.sampled_from(string.digits + string.ascii_letters))
def test_one_wrong_character_breaks_the_checksum(position: int, character: str) -> None:
    changed = KNOWN[:position] + character + KNOWN[position + 1 :]
    assert tokens.is_well_formed(changed) == (changed == KNOWN)
    assert tokens.is_acceptable(changed) == (changed == KNOWN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a b",
        "tab\t",
        "line\n",
        "ключ",
        "k\xe9y",
        "nul\x00",
        "x" * 257,
        "llms_",
        "llms_short",
        KNOWN + "x",
    ],
)
def test_text_that_cannot_be_a_secret_is_not_acceptable(text: str) -> None:
    assert not tokens.is_acceptable(text)


@pytest.mark.parametrize("text", ["mysecurekey123", "x", "x" * 256, "sk-0a/b+c=", "LLMS_"])
def test_an_operator_may_choose_any_other_visible_ascii(text: str) -> None:
    assert tokens.is_acceptable(text)


def test_the_digest_is_hmac_sha256_under_the_pepper(settings: Any) -> None:
    # RFC 4231, test case 2.
    settings.API_KEY_PEPPER = "Jefe"
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert tokens.digest("what do ya want for nothing?") == expected
    settings.API_KEY_PEPPER = "another"
    assert tokens.digest("what do ya want for nothing?") != expected


def test_the_prefix_shows_only_the_start() -> None:
    assert tokens.display_prefix(KNOWN) == "llms_012345"
    assert tokens.display_prefix("mysecurekey123") == "mys"
    assert tokens.display_prefix("x" * 100) == "xxxx"
    assert tokens.display_prefix("abc") == ""
