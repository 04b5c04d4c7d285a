"""The generic cell rate algorithm (GCRA): a rate limit with a burst, whose state is one number.

ITU-T I.371, as virtual scheduling. The state is the theoretical arrival time (TAT): when the next request
would arrive if all were evenly spaced. A request that arrives up to `burst - 1` intervals earlier conforms.
Times are whole microseconds since 1970.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Convert a time to whole microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def whole_seconds(us: int) -> int:
    """Convert microseconds to seconds, rounded up, so that waiting this long is always enough."""
    return -(-us // SECOND)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A limit of `per_minute` requests, of which `burst` may arrive at once; both are at least 1."""

    per_minute: int
    burst: int

    @property
    def interval_us(self) -> int:
        """Between two evenly spaced requests; rounded up, so that rounding never admits one more."""
        return -(-60 * SECOND // self.per_minute)

    @property
    def window_us(self) -> int:
        """How long it takes until a whole burst is available again after it was used up."""
        return self.burst * self.interval_us

    def bounded(self, tat_us: int, *, now_us: int) -> int:
        """The TAT, limited to the furthest future that this rate can have produced.

        It may lie further ahead after the limit was raised or the clock was set back. Without this bound, the
        caller would be locked out until then.
        """
        return min(tat_us, now_us + self.window_us)

    def wait_us(self, tat_us: int, *, now_us: int) -> int:
        """How long until the next request conforms; 0 if it conforms now."""
        earliest = self.bounded(tat_us, now_us=now_us) - (self.burst - 1) * self.interval_us
        return max(0, earliest - now_us)

    def taken(self, tat_us: int, *, now_us: int) -> int:
        """The TAT after a conforming request has arrived now."""
        return max(tat_us, now_us) + self.interval_us

    def left(self, tat_us: int, *, now_us: int) -> int:
        """How many requests would conform if they arrived now."""
        used_us = max(0, self.bounded(tat_us, now_us=now_us) - now_us)
        return (self.window_us - used_us) // self.interval_us

    def full_in_us(self, tat_us: int, *, now_us: int) -> int:
        """How long until a whole burst would conform."""
        return max(0, self.bounded(tat_us, now_us=now_us) - now_us)
