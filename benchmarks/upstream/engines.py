"""Starts the engines behind the service: vLLM for CPUs, nginx in front of two nodes, nodes on Ray Serve."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import yaml

from benchmarks.http.servers import Server, free_port, llmservice
from llmservice.environment import BASE_DIR

_VENV = BASE_DIR / "var" / "upstream" / "venv"
VLLM_PYTHON = _VENV / "bin" / "python"
"""The Python that `make upstream` installs vLLM for."""
VLLM_INSTALLED = _VENV / ".ready"
"""Exists if it is installed completely; vLLM is left out otherwise."""
RAY_INSTALLED = BASE_DIR / "var" / "upstream" / "ray" / ".ready"
"""The same for Ray Serve."""
_READY_WITHIN_S = 300
_NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream nodes {{ {servers} keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host localhost; proxy_buffering off; proxy_read_timeout 120s;
        }}
    }}
}}
"""


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
    with _running(command, environ, scratch / "vllm.log", f"http://127.0.0.1:{port}/v1/models") as url:
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
        folder = scratch / "nginx"
        folder.mkdir()
        port = free_port()
        servers = " ".join(
            f"server {node.url.removeprefix('http://')} max_fails=1 fail_timeout=10s;" for node in nodes
        )
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=folder, servers=servers, port=port))
        command = [str(shutil.which("nginx")), "-c", str(configuration)]
        url = f"http://127.0.0.1:{port}/health"
        running = _running(command, os.environ, folder / "log", url)
        yield stack.enter_context(running).removesuffix("/health"), nodes


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
    with _running(command, environ, scratch / "ray.log", f"http://127.0.0.1:{port}/ready") as url:
        yield url.removesuffix("/ready")


@contextmanager
def _running(command: Sequence[str], environ: Mapping[str, str], log: Path, url: str) -> Iterator[str]:
    """The URL, once the program answers at it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + _READY_WITHIN_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[0]} did not become ready:\n{log.read_text()[-3000:]}")
            time.sleep(0.2)
        yield url
    finally:
        # vLLM has processes of its own, which would outlive it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
