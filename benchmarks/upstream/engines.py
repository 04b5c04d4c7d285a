"""Starts the engines behind the service: vLLM for CPUs, nginx in front of two nodes, nodes on Ray Serve."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from benchmarks.http.servers import Server, free_port, llmservice
from benchmarks.program import nginx, running
from llmservice.environment import BASE_DIR

_VENV = BASE_DIR / "var" / "upstream" / "venv"
VLLM_PYTHON = _VENV / "bin" / "python"
"""The Python that `make upstream` installs vLLM for."""
VLLM_INSTALLED = _VENV / ".ready"
"""Exists if it is installed completely; vLLM is left out otherwise."""
RAY_INSTALLED = BASE_DIR / "var" / "upstream" / "ray" / ".ready"
"""The same for Ray Serve."""


@contextmanager
def vllm(model: Path, scratch: Path) -> Iterator[str]:
    """The URL of vLLM with this model, ready."""
    port = free_port()
    command = [
        *(str(VLLM_PYTHON), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--served-model-name", model.name),
        *("--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "8", "--enforce-eager"),
    ]
    environ = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with running(command, environ, scratch / "vllm.log", f"http://127.0.0.1:{port}/v1/models") as url:
        yield url.removesuffix("/v1/models")


@contextmanager
def two_nodes(model: Path, scratch: Path) -> Iterator[tuple[str, Sequence[Server]]]:
    """The URL of nginx in front of two nodes of this service, and the nodes."""
    with ExitStack() as stack:
        nodes = []
        for name in ("one", "two"):
            folder = scratch / name
            folder.mkdir()
            nodes.append(stack.enter_context(llmservice(model, folder, threads=1)))
        for node in nodes:
            node.wait_ready()
        yield stack.enter_context(nginx([node.url for node in nodes], scratch / "nginx")), nodes


@contextmanager
def ray_serve(model: Path, scratch: Path, key: str) -> Iterator[str]:
    """The URL of Ray Serve with two nodes of this service, by the configuration in `deploy/ray`.

    What the nodes log is in `ray.log`.
    """
    configuration = yaml.safe_load((BASE_DIR / "deploy" / "ray" / "serve.yaml").read_text())
    port = configuration["http_options"]["port"] = free_port()
    [application] = configuration["applications"]
    application["args"] |= {"model": str(model), "python": sys.executable}
    file = scratch / "serve.yaml"
    file.write_text(yaml.safe_dump(configuration))
    environ = os.environ | {"NODE_KEY": key, "PYTHONPATH": str(BASE_DIR)}
    environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    command = [str(RAY_INSTALLED.parent / "bin" / "serve"), "run", str(file)]
    with running(command, environ, scratch / "ray.log", f"http://127.0.0.1:{port}/ready") as url:
        yield url.removesuffix("/ready")
