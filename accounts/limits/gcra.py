"""The generic cell rate algorithm: so many a minute, so many of them at once, from one number of state.

ITU-T I.371, in the form of virtual scheduling: the state is the theoretical arrival time (TAT), when the
next one would come if all kept their distance. One that comes up to `burst - 1` distances before it conforms.
Times are whole microseconds since 1970.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """The moment as the rate's functions take it."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def whole_seconds(us: int) -> int:
    """So many microseconds in seconds, rounded up: whoever waits as long has waited long enough."""
    return -(-us // SECOND)


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A limit of `per_minute`, of which `burst` may come at once; both at least 1."""

    per_minute: int
    burst: int

    @property
    def distance_us(self) -> int:
        """Between two that come evenly; rounded up, so that rounding never lets one more through."""
        return -(-60 * SECOND // self.per_minute)

    @property
    def window_us(self) -> int:
        """In which a whole burst comes back."""
        return self.burst * self.distance_us

    def bounded(self, tat_us: int, *, now_us: int) -> int:
        """The TAT as far ahead as this rate can have put it.

        It is further after the limit was raised or the clock set back; without this, such a change would
        lock out for as long.
        """
        return min(tat_us, now_us + self.window_us)

    def wait_us(self, tat_us: int, *, now_us: int) -> int:
        """How long until the next one conforms; 0 if it does now."""
        earliest = self.bounded(tat_us, now_us=now_us) - (self.burst - 1) * self.distance_us
        return max(0, earliest - now_us)

    def taken(self, tat_us: int, *, now_us: int) -> int:
        """The TAT after one that conforms came now."""
        return max(tat_us, now_us) + self.distance_us

    def left(self, tat_us: int, *, now_us: int) -> int:
        """How many would conform if they came now."""
        spent = max(0, self.bounded(tat_us, now_us=now_us) - now_us)
        return (self.window_us - spent) // self.distance_us

    def full_in_us(self, tat_us: int, *, now_us: int) -> int:
        """How long until a whole burst would conform."""
        return max(0, self.bounded(tat_us, now_us=now_us) - now_us)
