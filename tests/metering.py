"""Requests whose cost is known, and the account of one of them."""

from accounts.models import DailyUsage, Reservation
from inference.engine.request import GenerationRequest, SamplingParams

PROMPT_TOKENS = 5


def request(max_new_tokens: int = 20, timeout_s: float | None = None) -> GenerationRequest:
    return GenerationRequest(
        prompt=tuple(range(PROMPT_TOKENS)),
        sampling=SamplingParams(do_sample=False),
        max_new_tokens=max_new_tokens,
        timeout_s=timeout_s,
    )


def account() -> tuple[str, int, int]:
    """The one outcome that is counted, with prompt and completion tokens; nothing is reserved any more."""
    assert not Reservation.objects.exists()
    row = DailyUsage.objects.get()
    outcomes = ("finished", "failed", "cancelled", "timed_out", "overloaded", "refused", "lost")
    [outcome] = [name for name in outcomes if getattr(row, name)]
    assert getattr(row, outcome) == 1
    return outcome, row.prompt_tokens, row.completion_tokens
