"""Where the upstream engine is, and how long to wait for it."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

EngineName = Literal["auto", "llmservice", "vllm", "sglang", "llamacpp", "openai"]


@dataclass(frozen=True, kw_only=True)
class UpstreamConfig:
    """How the engine is reached, and how much is asked of it at once.

    Attributes:
        url: of its API, with or without `/v1` at the end.
        api_key: sent as a bearer token; empty for none.
        model: the name of the model there; empty for the only one that it lists.
        engine: which of the known engines it is; "auto" asks it.
        context_length: tokens that a prompt and its completion may have; 0 asks the engine.
        max_running: the most requests there at once.
        max_queued: requests that may wait here; a further one is refused with `Overloaded`.
        connect_s: seconds for a connection.
        first_byte_s: seconds from the request to the first byte of its answer.
        silence_s: seconds between two pieces of an answer.
        failures: failed attempts in a row after which no request is sent for a while.
        pause_s: that while, in seconds; it doubles with each probe that fails, up to `LONGEST_PAUSE_S`.
        salt_key: what the salts of owners are derived with, a secret.
    """

    url: str
    api_key: str = field(default="", repr=False)
    model: str = ""
    engine: EngineName = "auto"
    context_length: int = 0
    max_running: int = 16
    max_queued: int = 64
    connect_s: float = 5.0
    first_byte_s: float = 60.0
    silence_s: float = 60.0
    failures: int = 5
    pause_s: float = 1.0
    salt_key: bytes = field(default=b"", repr=False)

    @property
    def root(self) -> str:
        """The URL without `/v1`."""
        return self.url.rstrip("/").removesuffix("/v1")

    @property
    def shown_url(self) -> str:
        """The URL for people, without a user and a password in it."""
        parts = urlsplit(self.root)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


LONGEST_PAUSE_S = 30.0
ATTEMPTS = 3
"""How often a call is tried, as long as the client has got nothing of it."""
BETWEEN_ATTEMPTS_S = 0.1
"""The pause before the second attempt; it doubles with each further one."""
