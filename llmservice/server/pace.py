"""How fast a client has to take what waits for it."""

# Longest pause of a client that reads its answer.
STALL_S = 30.0
# A client that reads has STALL_S for what waits for it, and a second more for each of this many bytes taken.
LEAST_BYTES_PER_S = 8192


class Pace:
    """What a client has taken since something waits for it, from `began_at` on.

    For a client that reads promptly nothing waits, so its stream may last as long as it likes.
    """

    def __init__(self, *, began_at: float) -> None:
        self._began_at = began_at
        self._taken_at = began_at
        self._taken = 0

    def take(self, count: int, *, now: float) -> None:
        """The client has taken this many bytes."""
        self._taken += count
        self._taken_at = now

    def is_late(self, now: float) -> bool:
        """Whether the client has paused for too long, or takes too little altogether."""
        slowest = self._began_at + STALL_S + self._taken / LEAST_BYTES_PER_S
        return now > min(self._taken_at + STALL_S, slowest)
