"""Over HTTP: this service, a thread pool around `generate`, and this engine without HTTP, in turn.

`python -m benchmarks.http`: tokens per second and times as the clients see them, with 1, 4 and 16 clients.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contenders.service import config, load_with
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.http.engine_alone import tokens_per_s
from benchmarks.http.servers import Server, llmservice, thread_pool
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from inference.engine.config import usable_cpus
from inference.engine.engine import Engine

Samples = dict[str, dict[int, list[dict[str, float]]]]
"""The figures of each round, by service and number of clients."""

ENGINE = "engine, no HTTP"
OURS = "llmservice"


def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    samples: Samples = {}
    with services(folder, given) as (servers, engine):
        paths = {server.name: server.compute_path() for server in servers if server.name == OURS}
        for name, path in paths.items():
            progress(f"{name} {given.precision}: {path}", last=True)
        try:
            for number in range(given.rounds):
                for clients in given.clients:
                    progress(f"Round {number + 1} of {given.rounds}: {clients} clients: {ENGINE} ...")
                    rate = tokens_per_s(
                        engine,
                        clients=clients,
                        seconds=given.seconds,
                        words=given.words,
                        new_tokens=given.new_tokens,
                    )
                    _add(samples, ENGINE, clients, {"tokens_per_s": rate})
                    for server in servers:
                        progress(
                            f"Round {number + 1} of {given.rounds}: {clients} clients: {server.name} ..."
                        )
                        _add(samples, server.name, clients, ask(server, clients, given))
                save_samples(given, samples, paths)
        except KeyboardInterrupt:
            progress("Interrupted: these are the complete measurements.", last=True)
    progress(f"All figures are in {given.out}.", last=True)
    print(table(samples))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.http", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a model; GPT-2 medium's shape if not given")
    parser.add_argument("--clients", nargs="*", type=int, default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=20, help="in which clients start new requests")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--words", type=int, default=8, help="words of a prompt, about a token each")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens of an answer, on average")
    parser.add_argument("--precision", default="float32", help="of this service")
    parser.add_argument("--pool", type=int, default=4, help="threads of the thread pool")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="CPU threads of every contender")
    parser.add_argument("--path", default="/generate", help="of this service")
    parser.add_argument("--stream", action="store_true", help="for a path with server-sent events")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "http.json")
    return parser.parse_args(argv)


@contextmanager
def services(folder: Path, given: argparse.Namespace) -> Iterator[tuple[list[Server], Engine]]:
    """The services and the engine, loaded one after the other."""
    settings = {"LLM_DTYPE": given.precision, "LLM_SPECULATION": "off", "LLM_PREFIX_CACHE": "off"}
    with (
        tempfile.TemporaryDirectory() as scratch,
        thread_pool(folder, Path(scratch), threads=given.threads, workers=given.pool) as pool,
        llmservice(folder, Path(scratch), threads=given.threads, **settings) as ours,
    ):
        servers = [pool, ours]
        for server in servers:
            progress(f"Waiting for {server.name} ...")
            server.wait_ready()
        progress("Loading the engine ...")
        engine = load_with(folder, config(precision=given.precision, threads=given.threads)).engine
        try:
            yield servers, engine
        finally:
            engine.stop()


def ask(server: Server, clients: int, given: argparse.Namespace) -> dict[str, float]:
    """Run the load generator against a service."""
    options = ["--words", str(given.words), "--new-tokens", str(given.new_tokens)]
    if server.name == OURS:
        options += ["--path", given.path, *(["--stream"] if given.stream else [])]
    return server.ask(clients, given.seconds, *options)


def save_samples(given: argparse.Namespace, samples: Samples, paths: dict[str, str]) -> None:
    about = {
        "threads": given.threads, "precision": given.precision, "pool": given.pool, "words": given.words,
        "new_tokens": given.new_tokens, "paths": paths,
    }  # fmt: skip
    save(given.out, about=about, measured={"services": samples})


def table(samples: Samples) -> str:
    """A row per service and number of clients; times in milliseconds."""
    times = ["answer_s", "first_token_s", "between_tokens_s", "health_s"]
    head = ["service", "clients", "tokens/s", ": engine", ": thread pool", "errors"]
    head += [f"{name.removesuffix('_s').replace('_', ' ')} p50/p95/p99, ms" for name in times]
    rows = []
    for name, by_clients in samples.items():
        for clients, found in by_clients.items():
            cells = [name, str(clients), with_spread(sample["tokens_per_s"] for sample in found)]
            cells += [_ratio(samples, name, other, clients) for other in (ENGINE, "thread pool")]
            cells.append(f"{sum(sample.get('errors', 0) for sample in found):.0f}")
            cells += [_percentiles(found, name) for name in times]
            rows.append(cells)
    return markdown(head, rows)


def _percentiles(found: list[dict[str, float]], name: str) -> str:
    if any(f"{name}_p50" not in sample for sample in found):
        return "-"
    of = [statistics.median(sample[f"{name}_p{p}"] for sample in found) for p in (50, 95, 99)]
    return " / ".join(f"{1000 * value:.0f}" for value in of)


def _ratio(samples: Samples, name: str, other: str, clients: int) -> str:
    """The median of the ratios of each round."""
    pairs = zip(samples[name][clients], samples.get(other, {}).get(clients, []), strict=False)
    return "-" if name == other else with_spread(a["tokens_per_s"] / b["tokens_per_s"] for a, b in pairs)


def _add(samples: Samples, name: str, clients: int, measured: dict[str, float]) -> None:
    samples.setdefault(name, {}).setdefault(clients, []).append(measured)


if __name__ == "__main__":
    main()
