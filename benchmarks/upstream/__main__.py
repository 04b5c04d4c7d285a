"""Tries the service in front of real engines and prints a table: `python -m benchmarks.upstream`.

It ends with 1 if something failed. The engines are a node of this service, two nodes behind nginx of which
one is killed under load, nodes on Ray Serve, and vLLM for CPUs; what is not installed is left out, and the
table says so.
"""

import argparse
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.http.servers import llmservice
from benchmarks.results import markdown, progress
from benchmarks.upstream import checks
from benchmarks.upstream.checks import Front
from benchmarks.upstream.engines import RAY_INSTALLED, VLLM_INSTALLED, ray_serve, two_nodes, vllm
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR, DEFAULT_API_KEY

Rows = list[list[str]]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.upstream", description=__doc__)
    parser.add_argument(
        "engines", nargs="*", choices=[*ENGINES, []], metavar="ENGINE", help=", ".join(ENGINES)
    )
    parser.add_argument("--model", type=Path, help="folder of the model; the quick-start model if not given")
    given = parser.parse_args(argv)
    model = (given.model or ensure_model(BASE_DIR / "var", progress)).resolve()
    rows: Rows = []
    for name in given.engines or ENGINES:
        progress(f"{name} ...", last=True)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                rows += ENGINES[name](model, Path(scratch))
            except Exception as error:
                progress(str(error), last=True)
                rows.append([name, "running", "FAILED", type(error).__name__])
    print(markdown(["engine", "tried", "result", "seen"], rows))
    return int(any(row[2] == "FAILED" for row in rows))


@contextmanager
def front_of(engine: str, url: str, key: str, model: Path, scratch: Path) -> Iterator[Front]:
    """The service in front of the engine at this URL, ready."""
    folder = scratch / "front"
    folder.mkdir()
    settings = {"LLM_BACKEND": "upstream", "LLM_UPSTREAM_URL": url, "LLM_UPSTREAM_API_KEY": key}
    with llmservice(model, folder, threads=1, **settings) as service:
        service.wait_ready()
        yield Front(engine, service.url, service.key)


def try_node(model: Path, scratch: Path) -> Rows:
    """A node of this service."""
    with (
        llmservice(model, scratch, threads=2) as node,
        front_of("node", node.url, node.key, model, scratch) as front,
    ):
        node.wait_ready()
        checks.texts_and_counts(front, Front("node", node.url, node.key))
        checks.features(front)
        checks.cancelled(front, "llmservice_running_requests ", node.url)
        return front.rows


def try_nodes(model: Path, scratch: Path) -> Rows:
    """Two nodes behind nginx."""
    if shutil.which("nginx") is None:
        return [["nodes", "starting", "left out", "nginx is not installed"]]
    with (
        two_nodes(model, scratch) as (url, nodes),
        front_of("nodes", url, DEFAULT_API_KEY, model, scratch) as front,
    ):
        checks.one_node_killed(front, nodes)
        return front.rows


def try_vllm(model: Path, scratch: Path) -> Rows:
    """vLLM."""
    if not VLLM_INSTALLED.exists():
        return [["vllm", "starting", "left out", "vLLM is not installed"]]
    with vllm(model, scratch) as url, front_of("vllm", url, "none", model, scratch) as front:
        checks.texts_and_counts(front, Front("vllm", url, "none"))
        checks.features(front)
        checks.cancelled(front, "vllm:num_requests_running", url)
        return front.rows


def try_ray(model: Path, scratch: Path) -> Rows:
    """Nodes on Ray Serve."""
    if not RAY_INSTALLED.exists():
        return [["ray", "starting", "left out", "Ray Serve is not installed"]]
    key = secrets.token_urlsafe()
    with ray_serve(model, scratch, key) as url, front_of("ray", url, key, model, scratch) as front:
        checks.texts_and_counts(front, Front("ray", url, key))
        checks.features(front)
        # Each node has a database of its own, and so creates its key.
        nodes = (scratch / "ray.log").read_text().count("Created the first API key")
        front.check("two replicas", nodes == 2, f"{nodes} nodes have started")
        return front.rows


ENGINES: dict[str, Callable[[Path, Path], Rows]] = {
    "node": try_node,
    "nodes": try_nodes,
    "ray": try_ray,
    "vllm": try_vllm,
}


if __name__ == "__main__":
    sys.exit(main())
