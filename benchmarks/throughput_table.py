"""The result of the throughput benchmark's rounds, in one table."""

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.contenders import NAMES, OURS
from benchmarks.limit import ModelSize
from benchmarks.machine import Power
from benchmarks.results import markdown, with_spread

COMPARED = {
    "float32": ("float32",),
    "bfloat16": ("auto",),
    "int8": ("int8",),
    "int4": ("int4", "q4_0", "q4_K_M"),
}
"""The precisions of the peers that each of this engine's is compared with. A peer's `auto` is bfloat16 where
the CPU has instructions for it."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """`requests` side by side, each with a prompt of `context` tokens."""

    requests: int
    context: int

    def __str__(self) -> str:
        return f"{self.requests} at context {self.context}"


@dataclass(frozen=True, kw_only=True)
class Round:
    """The figures of one round, by contender and load; a load that a contender cannot run is missing.

    Attributes:
        rates: generated tokens per second.
        prefill_s: seconds until every request has its first token.
    """

    power: Power
    rates: dict[str, dict[Load, float]]
    prefill_s: dict[str, dict[Load, float]]

    def as_json(self) -> dict[str, Any]:
        def by_name(of: dict[str, dict[Load, float]]) -> dict[str, dict[str, float]]:
            return {name: {str(load): round(v, 4) for load, v in loads.items()} for name, loads in of.items()}

        return {
            "machine": asdict(self.power),
            "tokens_per_s": by_name(self.rates),
            "prefill_s": by_name(self.prefill_s),
        }


def table(rounds: list[Round], loads: list[Load], size: ModelSize) -> str:
    """Tokens per second, then this engine's ratios. A ratio is the median of the ratios of each round,
    because what slows the machine down for a while slows both contenders."""
    names = list(dict.fromkeys(name for r in rounds for name in r.rates))
    rows = [
        [name, *(with_spread(r.rates[name][load] for r in rounds if _has(r, name, load)) for load in loads)]
        for name in names
    ]
    bandwidth = statistics.median(r.power.bytes_per_s for r in rounds) / 1e9
    flops = statistics.median(r.power.flops_per_s for r in rounds) / 1e9
    limit = f"limit, float32 ({bandwidth:.0f} GB/s, {flops:.0f} GFLOP/s)"
    rows.append([limit, *(with_spread(_limit(r, load, size) for r in rounds) for load in loads)])
    for precision, of_peers in COMPARED.items():
        ours = f"{NAMES[OURS]} {precision}"
        if ours not in names:
            continue
        rows += [
            [f"{ours} : {peer}", *(_ratio(rounds, load, ours, peer) for load in loads)]
            for peer in names
            if peer.rpartition(" ")[2] in of_peers and not peer.startswith(NAMES[OURS])
        ]
        own_type = f"{NAMES[OURS]} auto"
        if precision == "float32" and own_type in names:
            rows.append([f"{own_type} : {ours}", *(_ratio(rounds, load, own_type, ours) for load in loads)])
        if precision == "float32":
            shares = [
                with_spread(
                    r.rates[ours][load] / _limit(r, load, size) for r in rounds if _has(r, ours, load)
                )
                for load in loads
            ]
            rows.append([f"{ours} : limit", *shares])
    head = [f"tokens/s, median of {len(rounds)}", *(str(load) for load in loads)]
    return f"{markdown(head, rows)}\n\n{_prompts(rounds, loads, names)}"


def _prompts(rounds: list[Round], loads: list[Load], names: list[str]) -> str:
    """Tokens of the prompts per second, until every request has its first token."""
    rows = [
        [
            name,
            *(
                with_spread(
                    load.requests * load.context / r.prefill_s[name][load]
                    for r in rounds
                    if _has(r, name, load)
                )
                for load in loads
            ),
        ]
        for name in names
    ]
    return markdown([f"prompt tokens/s, median of {len(rounds)}", *(str(load) for load in loads)], rows)


def _limit(of: Round, load: Load, size: ModelSize) -> float:
    return size.decode_rate(of.power, requests=load.requests, context=load.context)


def _ratio(rounds: list[Round], load: Load, ours: str, peer: str) -> str:
    both = [r for r in rounds if _has(r, ours, load) and _has(r, peer, load)]
    return with_spread(r.rates[ours][load] / r.rates[peer][load] for r in both)


def _has(of: Round, name: str, load: Load) -> bool:
    return load in of.rates.get(name, {})
