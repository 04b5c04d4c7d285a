"""What a contender is asked to do, and how long it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class NotHere(Exception):
    """This contender cannot run on this machine; the message says why."""


class CannotRun(Exception):
    """This contender cannot run this workload, but may run others; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests that start together and run side by side.

    Attributes:
        requests: their number.
        prompt_tokens: tokens of each prompt.
        new_tokens: tokens that each request generates. The first comes with the prompt; the others are timed.
        sampled: draw from the 50 most likely tokens at temperature 0.7; otherwise decode greedily.
    """

    requests: int
    prompt_tokens: int
    new_tokens: int
    sampled: bool = False

    def prompts(self, vocabulary: int) -> list[list[int]]:
        """Token ids, different for each request; never the vocabulary's last one, which may end a text."""
        return [
            [(7919 * i + 104729 * request + 11) % (vocabulary - 1) for i in range(self.prompt_tokens)]
            for request in range(self.requests)
        ]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One run of a workload.

    Attributes:
        prefill_s: seconds from the start until every request has its first token.
        decoded_tokens: tokens that all requests together generate after that, while all of them run.
        decode_s: seconds that these tokens take.
    """

    prefill_s: float
    decoded_tokens: int
    decode_s: float

    @property
    def decode_rate(self) -> float:
        """Generated tokens a second."""
        return self.decoded_tokens / self.decode_s

    @classmethod
    def of_steps(cls, workload: Workload, *, began: float, ends: Sequence[float]) -> "Timing":
        """From the end times of the steps, each of which gives every request one token."""
        return cls(
            prefill_s=ends[0] - began,
            decoded_tokens=workload.requests * (len(ends) - 1),
            decode_s=ends[-1] - ends[0],
        )


class Contender(Protocol):
    """A text generator, loaded and warm.

    Attributes:
        versions: of its packages.
        path: how it computes on this machine: on which instructions, by which library.
    """

    versions: dict[str, str]
    path: str

    def run(self, workload: Workload) -> Timing:
        """Generate, and time it.

        Raises:
            CannotRun: it cannot run this many requests, or this many tokens, side by side.
        """
        ...


class Scorer(Protocol):
    """A contender that can also judge a text."""

    def surprises(self, texts: list[list[int]]) -> list[float]:
        """-ln p of every token but the first of each text, as the model foresees it.

        It may be unable to run a workload afterwards.
        """
        ...


def check_requests(workload: Workload, most: int, *, step_tokens: int | None = None) -> None:
    """Refuse more requests than run side by side from the first token on.

    Args:
        step_tokens: the most prompt tokens of a step; None sets no limit.

    Raises:
        CannotRun: the workload has more than `most` requests, or its prompts take several steps.
    """
    if workload.requests > most:
        raise CannotRun(f"it runs at most {most} requests side by side")
    if step_tokens is not None and workload.requests * workload.prompt_tokens > step_tokens:
        raise CannotRun(f"it computes at most {step_tokens} prompt tokens in a step")
