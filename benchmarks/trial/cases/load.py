"""More requests than can be computed."""

import asyncio
import statistics
import time

from benchmarks.http.servers import Server
from benchmarks.process_memory import family, resident_bytes
from benchmarks.trial.arrivals import Arrival, arrivals, ask
from benchmarks.trial.place import Failed, Place, trial

TIMES = 20
REFUSED_WITHIN_S = 0.1
NORMAL_WITHIN_S = 5.0
LONG_TIMES = 4.5
LONG_REPEATS = 1150
BODY: dict[str, object] = {"prompt": "The old ship", "max_new_tokens": 48}


@trial
def overload(place: Place) -> None:
    """20 times the load: what is accepted ends in time, the rest is refused in 100 ms, soon all is well."""
    # So that memory no longer grows with what the prefix cache keeps.
    with place.service(LLM_KV_CACHE_TOKENS="4096") as server:
        alone_s = statistics.median(_ask(server).took_s for _ in range(5))
        per_second = _capacity(server)
        place.note(f"{per_second:.1f} requests/s can be answered")
        arrivals(server, per_second=TIMES * per_second, seconds=place.seconds / 4, body=BODY)
        before = _memory(server)
        began_at = time.monotonic()
        seen = arrivals(server, per_second=TIMES * per_second, seconds=place.seconds, body=BODY)
        normal_s = _normal_after(server, alone_s) + time.monotonic() - max(one.ended_at for one in seen)
        after = _memory(server)
        _judge_answers(place, seen, began_at)
        place.check(normal_s < NORMAL_WITHIN_S, f"as fast as before {normal_s:.1f} s after the last answer")
        place.check(after < 1.1 * before, f"memory {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB")
        times = sorted(one.took_s for one in seen if one.status == 503)
        p50, p99 = times[len(times) // 2], times[int(0.99 * len(times))]
        place.check(p99 < REFUSED_WITHIN_S, f"refused in p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")


@trial
def long_prompts(place: Place) -> None:
    """16 prompts that fill the context, at once: none ends at its time limit; the rest is refused soon."""
    with place.service() as server:
        [alone] = _at_once([_long_prompt("alone")], server)
    place.check(alone.status == 200, f"{alone.tokens} tokens alone in {alone.took_s:.1f} s")
    timeout_s = LONG_TIMES * alone.took_s
    place.note(f"a time limit of {timeout_s:.0f} s")
    with place.service(LLM_REQUEST_TIMEOUT_S=f"{timeout_s:.0f}") as server:
        # The second time, the service knows how fast it is.
        for round_, soon_s in (("first", alone.took_s), ("second", 2.0)):
            seen = _at_once([_long_prompt(f"{round_} {number}") for number in range(16)], server)
            served, refused = ([one for one in seen if one.status == status] for status in (200, 503))
            others = len(seen) - len(served) - len(refused)
            slowest = max((one.took_s for one in refused), default=0.0)
            place.check(
                bool(served) and not others and slowest < soon_s,
                f"{round_} time: {len(served)} answered in "
                f"{max((one.took_s for one in served), default=0.0):.1f} s, {len(refused)} refused in "
                f"{slowest:.2f} s, {others} others",
            )


def _long_prompt(start: str) -> dict[str, object]:
    """About as long as the quick-start model's context; each start makes another text."""
    return {"prompt": f"{start}: " + "the old ship came back one day " * LONG_REPEATS, "max_new_tokens": 16}


def _at_once(bodies: list[dict[str, object]], server: Server) -> list[Arrival]:
    async def all_of_them() -> list[Arrival]:
        return await asyncio.gather(*(ask(server.url, server.key, body) for body in bodies))

    return asyncio.run(all_of_them())


def _judge_answers(place: Place, seen: list[Arrival], began_at: float) -> None:
    served = [one for one in seen if one.status == 200]
    refused = [one for one in seen if one.status == 503]
    place.check(
        len(served) + len(refused) == len(seen) and all(one.retry_after_s for one in refused),
        f"{len(served)} answered, {len(refused)} refused, {len(seen) - len(served) - len(refused)} others",
    )
    longest = max(one.took_s for one in served)
    place.note(f"answers in {_spread([one.took_s for one in served])}, at most {longest:.1f} s")
    # Those that were in the service when a request was refused have ended by then, or nearly.
    ends = sorted((one.began_at, one.ended_at) for one in served)
    honest = [
        (one.retry_after_s or 0)
        / max(0.1, max((end for began, end in ends if began < one.began_at), default=0.0) - one.ended_at)
        for one in refused[:: max(1, len(refused) // 500)]
        if one.began_at > began_at + 2
    ]
    place.note(f"Retry-After against the time until those before have ended: {_spread(honest)}")


def _ask(server: Server) -> Arrival:
    return asyncio.run(ask(server.url, server.key, BODY))


def _capacity(server: Server, *, clients: int = 16, rounds: int = 3) -> float:
    """How many requests a second are answered, with as many clients as run at once."""

    rates = []
    for _ in range(rounds):
        began = time.monotonic()
        if any(one.status != 200 for one in _at_once([BODY] * clients, server)):
            raise Failed("16 requests at once were not all answered")
        rates.append(clients / (time.monotonic() - began))
    return max(rates)


def _normal_after(server: Server, alone_s: float) -> float:
    """Seconds until an answer takes about as long as it did before."""
    began = time.monotonic()
    while time.monotonic() < began + 60:
        asked_at = time.monotonic()
        if (one := _ask(server)).status == 200 and one.took_s < 2 * alone_s:
            return asked_at - began
    raise Failed("a minute later, an answer takes more than twice as long as before")


def _memory(server: Server) -> float:
    return float(sum(map(resident_bytes, family(server.process.pid))))


def _spread(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return f"p5 {cuts[0]:.1f}, p50 {cuts[9]:.1f}, p95 {cuts[18]:.1f}"
