"""Starts other programs that answer HTTP: engines, and nginx in front of several nodes."""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.http.servers import free_port

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
            {retries}
            proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_set_header Host localhost; proxy_buffering off; proxy_read_timeout 120s;
        }}
    }}
}}
"""


@contextmanager
def nginx(
    nodes: Sequence[str], folder: Path, *, retries: str = "", failures: str = "max_fails=1 fail_timeout=10s"
) -> Iterator[str]:
    """The URL of nginx in front of the nodes at these URLs.

    Args:
        retries: directives that say which requests are sent to another node.
        failures: when a node that has failed is left alone, and for how long.
    """
    folder.mkdir()
    port = free_port()
    servers = " ".join(f"server {url.removeprefix('http://')} {failures};" for url in nodes)
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX.format(folder=folder, servers=servers, port=port, retries=retries))
    command = [str(shutil.which("nginx")), "-c", str(configuration)]
    with running(command, os.environ, folder / "log", f"http://127.0.0.1:{port}/health") as url:
        yield url.removesuffix("/health")


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], log: Path, url: str) -> Iterator[str]:
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
