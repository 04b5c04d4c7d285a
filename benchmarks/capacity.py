"""What many nodes on one PostgreSQL carry: a simulation of the decisions about keys.

`python -m benchmarks.capacity --nodes 1 10 100 1000`. Requests arrive at random (a Poisson process), as many
as the nodes can generate. A request locks its key's row for `--lock-ms`, which other requests of the key wait
for, and takes `--server-ms` of one of the server's cores, its account included. The defaults are what
`benchmarks.keys` and `make bench` measured (docs/operations.md, "Capacity").
"""

import argparse
import heapq
import random
import statistics
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.results import markdown

DAY_S = 24 * 60 * 60
CONNECTIONS = 16
"""Of each worker at most (`DATABASE_CONNECTIONS`)."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is simulated.

    Attributes:
        nodes: each generates `tokens_per_s`, in requests of `tokens` each.
        keys: requests are spread over them evenly, apart from a share `hottest` that one key sends.
        cores: of the database server.
        server_ms, lock_ms: of one decision: CPU time of the server, and how long it locks the key's row.
    """

    nodes: int
    tokens_per_s: float
    tokens: int
    keys: int
    hottest: float
    cores: int
    server_ms: float
    lock_ms: float

    @property
    def requests_per_s(self) -> float:
        return self.nodes * self.tokens_per_s / self.tokens

    @property
    def server_use(self) -> float:
        """The share of the server's cores that is busy; above 1 it cannot follow."""
        return self.requests_per_s * self.server_ms / 1000 / self.cores

    @property
    def hottest_use(self) -> float:
        """The share of the time that the busiest key's row is locked."""
        share = self.hottest + (1 - self.hottest) / self.keys
        return self.requests_per_s * share * self.lock_ms / 1000


def waits(load: Load, requests: int, seed: int = 0) -> list[float]:
    """The milliseconds from the arrival of each request to its decision, in the order of arrival."""
    chance = random.Random(seed)  # noqa: S311
    now = 0.0
    arrivals: list[float] = []
    keys: list[int] = []
    for _ in range(requests):
        now += chance.expovariate(load.requests_per_s) * 1000
        arrivals.append(now)
        keys.append(0 if chance.random() < load.hottest else chance.randrange(load.keys))
    done = [0.0] * requests
    idle_cores = load.cores
    ready: deque[int] = deque()  # have their key's lock and wait for a core
    waiting: defaultdict[int, deque[int]] = defaultdict(deque)  # of each key that is locked
    locked: set[int] = set()
    # Its time, what happens (a core is free, a key is free, a request arrives) and to which request.
    events = [(time, 2, request) for request, time in enumerate(arrivals)]
    while events:
        now, kind, request = heapq.heappop(events)
        key = keys[request]
        if kind == 0:
            idle_cores += 1
        elif kind == 1:
            done[request] = now
            if waiting[key]:
                ready.append(waiting[key].popleft())
            else:
                locked.discard(key)
        elif key in locked:
            waiting[key].append(request)
        else:
            locked.add(key)
            ready.append(request)
        while ready and idle_cores:
            idle_cores -= 1
            started = ready.popleft()
            heapq.heappush(events, (now + load.server_ms, 0, started))
            heapq.heappush(events, (now + max(load.server_ms, load.lock_ms), 1, started))
    return [end - begin for end, begin in zip(done, arrivals, strict=True)]


def row(load: Load, requests: int) -> list[str]:
    """What the simulation says about a load."""
    found = waits(load, requests)
    cuts = statistics.quantiles(found, n=100)
    late = max(load.server_use, load.hottest_use) >= 1
    return [
        f"{load.nodes:,}",
        f"{load.nodes * load.tokens_per_s:,.0f}",
        f"{load.requests_per_s:,.0f}",
        f"{load.requests_per_s * DAY_S / 1e6:,.1f} M",
        f"{load.server_use:.1%}",
        f"{load.hottest_use:.1%}",
        *(["grows", "grows"] if late else [f"{cuts[49]:.1f}", f"{cuts[98]:.1f}"]),
        f"{load.nodes * CONNECTIONS:,}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--tokens-per-s", type=float, default=649, help="that a node generates")
    parser.add_argument("--tokens", type=int, default=200, help="that a request generates")
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--hottest", type=float, default=0.1, help="share of the requests of the busiest key")
    parser.add_argument("--cores", type=int, default=8, help="of the database server")
    parser.add_argument("--server-ms", type=float, default=1.2, help="CPU time of the server for a request")
    parser.add_argument("--lock-ms", type=float, default=1.5, help="that a request locks its key's row")
    parser.add_argument("--requests", type=int, default=50_000, help="to simulate")
    given = vars(parser.parse_args(argv))
    requests, counts = given.pop("requests"), given.pop("nodes")
    head = ["nodes", "tokens/s", "requests/s", "requests/day", "server", "hottest key"]
    head += ["decision p50, ms", "p99", "connections, at most"]
    print(markdown(head, [row(Load(nodes=nodes, **given), requests) for nodes in counts]))


if __name__ == "__main__":
    main()
