"""When the texts of an engine are likely to be complete, and which will not be in time.

A request that cannot be complete by its deadline is refused while nothing has been computed for it: its
client learns at once what it would learn at the deadline, and the time goes to others.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from math import inf
from typing import Protocol, TypeVar

from inference.engine.blocks import BLOCK
from inference.engine.config import EngineConfig
from inference.engine.generation import Completion, Generation
from inference.engine.prefix_cache import PrefixCache, Text
from inference.engine.segment import Segment
from inference.engine.speculation import drafts_for_each
from inference.engine.step_times import Amount, StepTimes

_FIRST_LENGTH = 64.0
"""How many tokens a text is taken to get, before any has ended."""
_GAIN_KEPT = 63 / 64
"""What one more step of a text leaves of the weight of those before it."""
_MARGIN = 1.2
"""Other programs may take a part of the machine that they did not have before."""
_FRESH_S = 10.0
"""How long the last step tells how fast the machine is. Were an idle engine's forecast believed, requests for
several texts could be refused for ever: nothing would be computed that corrects it."""


class Expected(Text, Protocol):
    """What the forecast needs of a sequence."""

    deadline: float | None

    @property
    def generation(self) -> Generation: ...

    @property
    def length(self) -> int: ...

    @property
    def most_tokens(self) -> int: ...


S = TypeVar("S", bound=Expected)


class Forecast:
    """Learns from steps and texts, and tells what comes too late.

    It is better for long prompts, because their work is known. A text may end long before
    `max_new_tokens`, so it is taken to be as long as others were.
    """

    def __init__(self, config: EngineConfig, prefixes: PrefixCache) -> None:
        self._config = config
        self._prefixes = prefixes
        self._times = StepTimes()
        self._mean_length = _FIRST_LENGTH
        self._gain = 1.0  # tokens that a text gets in a step
        self._computed_at = -inf

    def computed(
        self, segments: Sequence[Segment], *, gained: Iterable[int], seconds: float, now: float
    ) -> None:
        """A step has computed these segments, and texts that were generating gained so many tokens each."""
        for tokens in gained:
            self._gain = max(1.0, _GAIN_KEPT * self._gain + (1 - _GAIN_KEPT) * tokens)
        amounts = (_amount(s.start, s.start + len(s.token_ids)) for s in segments)
        self._times.observe(sum(amounts, Amount(steps=1)), seconds)
        self._computed_at = now

    def ended(self, sequence: Expected) -> None:
        """A text has ended."""
        if isinstance(sequence.generation.outcome, Completion):
            self._mean_length += (sequence.generation.completion_tokens - self._mean_length) / 8

    def late(self, order: Iterable[S], *, now: float) -> Iterator[tuple[S, float]]:
        """Those of which nothing is computed and that will miss their deadline, and by how many seconds.

        The first is never late, and none is after an idle time, so something is always computed, however
        wrong the forecast is.

        Args:
            order: all sequences, in the order in which they will be computed.
        """
        if now - self._computed_at > _FRESH_S:
            return
        config = self._config
        shared: set[bytes] = set()
        prompts = texts = Amount()
        longest = 0.0
        # Few texts in a step get several tokens by guesses, and many get one.
        gain_of_many = min(self._gain, 1 + drafts_for_each(config.max_running))
        first = True
        for sequence in order:
            names = self._prefixes.findable_names(sequence)
            found = BLOCK * sum(
                1 for _ in takewhile(lambda name: name in shared or self._prefixes.has(name), names)
            )
            prompt = _amount(max(found, sequence.computed), sequence.length)
            length = self._length(sequence)
            text = _amount(sequence.length, sequence.length + length)
            alone = length / self._gain
            steps = max(longest, alone, (texts.tokens + text.tokens) / (config.max_running * gain_of_many))
            # While texts get tokens, each step computes few tokens of prompts.
            beside = config.prefill_tokens_shared * steps
            steps += max(0.0, prompts.tokens + prompt.tokens - beside) / config.prefill_tokens
            ends_at = now + _MARGIN * self._times.seconds(
                prompts + prompt + texts + text + Amount(steps=steps)
            )
            late_s = 0.0 if sequence.deadline is None else ends_at - sequence.deadline
            if late_s > 0 and not first and _is_untouched(sequence.generation):
                yield sequence, late_s
                continue
            first = False
            shared.update(names)
            prompts += prompt
            texts += text
            longest = max(longest, alone)

    def _length(self, sequence: Expected) -> float:
        """How many more tokens its text is likely to get."""
        return min(self._mean_length, max(0, sequence.most_tokens - sequence.length))


def _amount(start: float, end: float) -> Amount:
    """Of the tokens of a text from `start` to `end`."""
    return Amount(tokens=end - start, positions=(end * end - start * start) / 2)


def _is_untouched(generation: Generation) -> bool:
    return (
        not generation.completion_tokens
        and generation.computed_prompt_tokens <= generation.cached_prompt_tokens
    )
