"""Which of many requests run and which wait: at most this many at once, fair between owners.

Not thread-safe. The scheduler uses it for the requests of this engine, which need room in the KV cache as
well, and the upstream backend for those of another.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import count
from math import ceil
from typing import Generic, TypeVar

from inference.engine.errors import Overloaded
from inference.engine.load import OwnerLoad

T = TypeVar("T")

LONGEST_RETRY_S = 60


class FairQueue(Generic[T]):
    """Requests of owners, running or waiting.

    The next request to run is of the owner with the fewest running; between equals, the first that came. When
    the queue is full, a request of an owner with fewer waiting replaces the newest one of the owner with the
    most waiting (longest queue drop, Suter et al., 1998), so one owner cannot fill the queue against the
    others. Several requests that come together get in together or not at all.

    Args:
        max_running: how many run at once.
        max_queued: how many wait beyond those that could run at once.
    """

    def __init__(self, *, max_running: int, max_queued: int) -> None:
        self._max_running = max_running
        self._max_queued = max_queued
        self._waiting: dict[str, deque[tuple[int, T]]] = {}
        self._running: Counter[str] = Counter()
        self._arrivals = count()
        self._mean_service_s = 1.0

    @property
    def queued(self) -> int:
        """How many wait."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def running(self) -> int:
        """How many run."""
        return self._running.total()

    @property
    def room(self) -> int:
        """How many further requests nobody has to give way for."""
        return self._max_queued + self._max_running - self.running - self.queued

    @property
    def waiting(self) -> Iterator[T]:
        """Those that wait."""
        return (item for queue in self._waiting.values() for _, item in queue)

    @property
    def first(self) -> dict[str, T]:
        """The one of each owner that waits for the longest."""
        return {owner: queue[0][1] for owner, queue in self._waiting.items()}

    @property
    def owners(self) -> dict[str, OwnerLoad]:
        """What runs and waits, by owner."""
        return {
            owner: OwnerLoad(queued=len(self._waiting.get(owner, ())), running=self._running[owner])
            for owner in self._running.keys() | self._waiting.keys()
        }

    def add(self, items: Sequence[T], *, owner: str) -> list[T]:
        """Put requests in the queue, all of them; returns the waiting ones that had to give way.

        Raises:
            Overloaded: there are not as many places, free or of owners with more waiting than this one would
                have. Nobody gives way then.
        """
        dropped = [
            self._pop(name, newest=True)
            for name, places in self._giving_way(owner, count=len(items)).items()
            for _ in range(places)
        ]
        self._waiting.setdefault(owner, deque()).extend((next(self._arrivals), item) for item in items)
        return dropped

    def check_room(self, owner: str, *, count: int = 1) -> None:
        """Check whether so many requests of the owner find places, free ones or those of others.

        Raises:
            Overloaded: as from `add`.
        """
        self._giving_way(owner, count=count)

    def take(self) -> T | None:
        """The request that runs next, which counts as running from now on; None if none may or none waits."""
        if not self._waiting or self.running >= self._max_running:
            return None
        owner = min(self._waiting, key=lambda name: (self._running[name], self._waiting[name][0][0]))
        return self.take_from(owner)

    def take_from(self, owner: str) -> T:
        """The owner's first waiting request, which counts as running from now on."""
        self.resume(owner)
        return self._pop(owner)

    def running_of(self, owner: str) -> int:
        """How many of an owner run."""
        return self._running[owner]

    def pause(self, owner: str) -> None:
        """A request of the owner does not run for a while. Its place is not in this queue."""
        self._running[owner] -= 1
        self._running += Counter()  # forgets owners of which none runs

    def resume(self, owner: str) -> None:
        """A request of the owner runs."""
        self._running[owner] += 1

    def leave(self, *, owner: str, service_s: float) -> None:
        """A request of the owner that ran for so long has ended."""
        self.pause(owner)
        self._mean_service_s += (service_s - self._mean_service_s) / 8

    def remove(self, item: T, *, owner: str) -> bool:
        """Take a waiting request out of the queue; False if it does not wait."""
        queue = self._waiting.get(owner, deque())
        kept = deque(entry for entry in queue if entry[1] is not item)
        if len(kept) == len(queue):
            return False
        if kept:
            self._waiting[owner] = kept
        else:
            del self._waiting[owner]
        return True

    def retry_after_s(self) -> int:
        """In how many whole seconds the requests of now are likely to have ended."""
        rounds = (self.queued + self.running) / self._max_running
        return min(LONGEST_RETRY_S, max(1, ceil(rounds * self._mean_service_s)))

    def _giving_way(self, owner: str, *, count: int) -> Counter[str]:
        """How many waiting requests of each owner give way to so many of this one. Raises Overloaded."""
        lengths = {name: len(queue) for name, queue in self._waiting.items() if name != owner}
        free = max(0, min(self.room, count))
        own = len(self._waiting.get(owner, ())) + free
        places: Counter[str] = Counter()
        for _ in range(count - free):
            own += 1
            longest = max(lengths, key=lengths.__getitem__, default=None)
            if longest is None or lengths[longest] <= own:
                raise Overloaded(retry_after_s=self.retry_after_s())
            lengths[longest] -= 1
            places[longest] += 1
        return places

    def _pop(self, owner: str, *, newest: bool = False) -> T:
        queue = self._waiting[owner]
        _, item = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._waiting[owner]
        return item
