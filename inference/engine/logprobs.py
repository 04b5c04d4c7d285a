"""Log-probabilities of tokens, as the model gives them before temperature and penalties."""

from dataclasses import dataclass

MOST_ALTERNATIVES = 20
"""The most alternatives that a request may ask for at each token."""


def token_text(token: bytes) -> str:
    r"""A token as a string; as OpenAI writes it, `bytes:\xf0\x9f`, if it is not whole characters."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its exact bytes, and its log-probability.

    The bytes need not be whole characters. A log-probability may be minus infinity.
    """

    token_id: int
    token: bytes
    logprob: float

    @property
    def text(self) -> str:
        """The token as a string."""
        return token_text(self.token)


@dataclass(frozen=True, slots=True)
class TokenLogprobs(TokenLogprob):
    """A token of a text, and the most likely tokens at its place.

    Attributes:
        greedy: no token is more likely, and none that is as likely has a lower id: greedy decoding takes it.
        top: as many as were asked for, the most likely first; the token itself may be missing.
    """

    greedy: bool
    top: tuple[TokenLogprob, ...]
