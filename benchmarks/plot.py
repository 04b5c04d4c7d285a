"""Throughput and latency by number of clients as a picture, from the results of `benchmarks.http`.

`python -m benchmarks.plot`.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS_DIR

# Colours that colour-blind people can distinguish (Okabe and Ito, 2008), and a marker each.
_STYLES = {
    "llmservice": {"color": "#0072B2", "marker": "o", "label": "llmservice"},
    "thread pool": {"color": "#D55E00", "marker": "s", "label": "generate in a thread pool"},
    "engine, no HTTP": {
        "color": "#999999",
        "marker": "^",
        "label": "engine alone, no HTTP",
        "linestyle": "--",
    },
}


def draw(result: dict[str, Any], picture: Path) -> None:
    """Write a PNG picture of a result that `benchmarks.http` saved."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    rate, latency = figure.subplots(1, 2)
    services: dict[str, dict[str, list[dict[str, float]]]] = result["services"]
    for name, style in _STYLES.items():
        by_clients = services.get(name)
        if not by_clients:
            continue
        clients = [int(count) for count in by_clients]
        rounds = list(by_clients.values())
        _line(rate, clients, rounds, "tokens_per_s", style)
        if all("answer_s_p50" in sample for samples in rounds for sample in samples):
            _line(latency, clients, rounds, "answer_s_p50", style | {"label": f"{style['label']}, median"})
            p95 = {"linestyle": ":", "label": f"{style['label']}, 95th percentile"}
            _line(latency, clients, rounds, "answer_s_p95", style | p95)
    every = sorted({int(count) for by_clients in services.values() for count in by_clients})
    for axes, title in (
        (rate, "Generated tokens per second"),
        (latency, f"Seconds to an answer, {result['new_tokens']} tokens on average"),
    ):
        axes.set_title(title, loc="left", fontsize=11)
        axes.set_xlabel("clients at once")
        axes.set_xscale("log", base=2)
        axes.set_xticks(every, [str(count) for count in every], minor=False)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color="#dddddd")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    machine = result["machine"]
    figure.suptitle(
        f"GPT-2 medium's shape, {result['precision']}, {result['threads']} threads of {machine['cpu']}",
        fontsize=9,
    )
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture)


def _line(
    axes: Any, clients: list[int], rounds: list[list[dict[str, float]]], name: str, style: dict[str, str]
) -> None:
    """The medians of the rounds, with error bars from minimum to maximum."""
    values = [[sample[name] for sample in samples] for samples in rounds]
    middles = [statistics.median(of) for of in values]
    below = [middle - min(of) for middle, of in zip(middles, values, strict=True)]
    above = [max(of) - middle for middle, of in zip(middles, values, strict=True)]
    axes.errorbar(clients, middles, yerr=[below, above], capsize=3, **style)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--result", type=Path, default=RESULTS_DIR / "http.json")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "http.png")
    given = parser.parse_args(argv)
    draw(json.loads(given.result.read_text()), given.out)


if __name__ == "__main__":
    main()
