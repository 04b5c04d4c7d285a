"""The cost of a container: the service outside and inside one, in turn.

`python -m benchmarks.container`: seconds from the start of the process to `/ready`, then tokens per second
and the time of `/health` while clients generate. It needs Docker and the image of `docker-compose build`.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.http.servers import SERVE, Server, llmservice, llmservice_in_container
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from inference.engine.config import usable_cpus

OUTSIDE, INSIDE = "outside", "in a container"
FIGURES = {
    "ready_s": ("s to /ready", 1.0),
    "tokens_per_s": ("tokens/s", 1.0),
    "health_s_p50": ("/health p50, ms", 1000.0),
    "health_s_p99": ("/health p99, ms", 1000.0),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", default="llmservice")
    parser.add_argument("--model", type=Path, help="folder of a model; GPT-2 medium's shape if not given")
    parser.add_argument("--precision", default="int8", help="int8, as in docker-compose.yml, or float32")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="in which clients start new requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "container.json")
    given = parser.parse_args(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    measured: dict[str, list[dict[str, float]]] = {OUTSIDE: [], INSIDE: []}
    paths: dict[str, str] = {}
    # The first start of each fills the page cache and is not counted.
    for number in range(1 + given.rounds):
        for where, samples in measured.items():
            progress(f"{where}: round {number} of {given.rounds} ...")
            with service(where, folder, given) as server:
                ready_s = server.wait_ready()
                if number == 0:
                    paths[where] = server.compute_path()
                    progress(f"{where}: {paths[where]}", last=True)
                else:
                    samples.append({"ready_s": ready_s, **server.ask(given.clients, given.seconds)})
    about = {
        "threads": given.threads, "precision": given.precision, "clients": given.clients, "paths": paths
    }  # fmt: skip
    save(given.out, about=about, measured={"services": measured})
    rows = []
    for name, (title, scale) in FIGURES.items():
        outside, inside = ([scale * sample[name] for sample in measured[where]] for where in measured)
        ratios = [b / a for a, b in zip(outside, inside, strict=True)]
        rows.append([title, with_spread(outside), with_spread(inside), with_spread(ratios)])
    print(markdown(["figure", OUTSIDE, INSIDE, ": outside"], rows))


@contextmanager
def service(where: str, folder: Path, given: argparse.Namespace) -> Iterator[Server]:
    settings = {"LLM_DTYPE": given.precision, "LLM_SPECULATION": "off", "LLM_PREFIX_CACHE": "off"}
    with tempfile.TemporaryDirectory() as scratch:
        var_dir = Path(scratch)
        if where == OUTSIDE:
            started = llmservice(folder, var_dir, threads=given.threads, command=SERVE, **settings)
        else:
            started = llmservice_in_container(given.image, folder, var_dir, threads=given.threads, **settings)
        with started as server:
            yield server


if __name__ == "__main__":
    main()
