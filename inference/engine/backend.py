"""What generates text for the API: the engine in this process, or a server with the same interface."""

from collections.abc import Sequence
from typing import Protocol

from inference.engine.generation import Generation
from inference.engine.load import Load, Work
from inference.engine.request import GenerationRequest, PreparedRequest, Prompt
from inference.engine.tool_format import ToolFormat


class Backend(Protocol):
    """Generates text for many requests at once; every method may be called from any thread.

    A request goes in by two calls: `prepare` checks it and counts its prompt, which limits need to know, and
    `submit_all` starts it, together with others that are of no use without it.
    """

    @property
    def model_name(self) -> str:
        """The name of the model that clients see."""
        ...

    @property
    def context_length(self) -> int:
        """How many tokens a prompt and its completion may have together."""
        ...

    @property
    def fingerprint(self) -> str | None:
        """Of all that decides a text beside the request; None where other requests can decide it too.

        The same fingerprint, request and seed give the same text.
        """
        ...

    @property
    def tool_format(self) -> ToolFormat | None:
        """How the model writes calls of tools; None if its chat template does not tell."""
        ...

    @property
    def load(self) -> Load:
        """How busy it is now."""
        ...

    @property
    def work(self) -> Work:
        """What it has computed since it started."""
        ...

    def take_first_byte_s(self) -> Sequence[float]:
        """Until the answers of an upstream engine began, since the last call; nothing of another backend."""
        ...

    @property
    def weight_format(self) -> str:
        """The name of the format of the model's weights."""
        ...

    @property
    def compute_path(self) -> str:
        """The device and the libraries that compute the model, for people to read."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can generate; once False, only a restart helps."""
        ...

    @property
    def fault(self) -> str:
        """Why it cannot generate for the moment, for people to read; empty if it can."""
        ...

    def check_room(self, owner: str, *, count: int = 1) -> None:
        """Check whether there is room for so many requests of the owner, before anything is done for them.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the backend accepts no requests now.
        """
        ...

    def prepare(self, request: GenerationRequest) -> PreparedRequest:
        """Check a request and count its prompt; costs nothing else.

        A prompt that cannot fit by its length alone is not tokenised.

        Raises:
            EmptyPrompt, TokenWithoutEmbedding, UnknownToken, PromptTooLong, InvalidChat: it can never be
                generated.
        """
        ...

    def prompt_text(self, prepared: PreparedRequest) -> str:
        """The prompt as text, without special tokens."""
        ...

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        """The tokens of a prompt of any length.

        Args:
            special_tokens: a text gets the special tokens that the model expects around it.

        Raises:
            TokenWithoutEmbedding, InvalidChat: the model cannot compute it.
        """
        ...

    def is_special(self, token_id: int) -> bool:
        """Whether texts do not show the token."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of a token, a special one's too; none for an id that is no token."""
        ...

    def submit(self, prepared: PreparedRequest) -> Generation:
        """Start one request, as `submit_all` does."""
        ...

    def submit_all(self, prepared: Sequence[PreparedRequest]) -> list[Generation]:
        """Start requests that this backend has prepared, all of one owner; all of them or none.

        Raises:
            Overloaded: the queue is full. No other request has lost its place for these.
            Unavailable: the backend accepts no requests now.
        """
        ...

    def drain(self) -> None:
        """Accept no more requests; those already submitted are finished."""
        ...

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """Stop; requests that are not finished fail with `Interrupted`."""
        ...
