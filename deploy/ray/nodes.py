"""Ray Serve: nodes of this service as replicas, behind one address with OpenAI's API.

`serve run deploy/ray/serve.yaml` starts them. Each replica is a node with an engine of its own, as a process
beside the replica, which passes requests on to it. Ray Serve balances, and adds and removes replicas by the
requests that run. Keys, limits and usage are those of a service in front (`LLM_BACKEND=upstream`), which has
`NODE_KEY`.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from ray import serve
from starlette.requests import Request
from starlette.responses import StreamingResponse

SOURCES = Path(__file__).resolve().parent.parent.parent
LOADED_WITHIN_S = 600
ENDED_WITHIN_S = 130
# Of one connection only (RFC 9110), or made anew for the next one.
NOT_PASSED_ON = frozenset(
    {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


@serve.deployment
class Node:
    """A node, and the way to it.

    Args:
        model: as `LLM_MODEL`.
        settings: further settings of the node.
        python: the interpreter that has the service's packages; that of the replica if empty.
    """

    def __init__(self, model: str, settings: dict[str, str] | None = None, python: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llmservice-node-")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        ours = {
            "LLM_MODEL": model,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "VAR_DIR": self._folder.name,
            "API_KEY": os.environ["NODE_KEY"],
        }
        self._process = subprocess.Popen(  # noqa: S603
            [python or sys.executable, "manage.py", "serve"],
            cwd=SOURCES,
            env={**os.environ, "ALLOWED_HOSTS": "*", **(settings or {}), **ours},
        )
        self._http: aiohttp.ClientSession | None = None
        self._ready = False

    async def check_health(self) -> None:
        """Ray replaces a replica whose node has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"The node has ended with status {self._process.returncode}.")

    async def __call__(self, request: Request) -> StreamingResponse:
        """Pass a request on, and its answer back as it comes; a client that leaves cancels it there."""
        await self._wait_ready()
        headers = {name: value for name, value in request.headers.items() if name not in NOT_PASSED_ON}
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = await self._session().request(
            request.method,
            self._url + path,
            headers=headers,
            data=await request.body(),
            allow_redirects=False,
        )
        passed = {name: text for name, text in answer.headers.items() if name.lower() not in NOT_PASSED_ON}
        return StreamingResponse(_pieces(answer), status_code=answer.status, headers=passed)

    async def _wait_ready(self) -> None:
        async with asyncio.timeout(LOADED_WITHIN_S):
            while not self._ready:
                await self.check_health()
                with contextlib.suppress(aiohttp.ClientError):
                    async with self._session().get(f"{self._url}/ready") as answer:
                        self._ready = answer.status == 200
                if not self._ready:
                    await asyncio.sleep(0.2)

    def _session(self) -> aiohttp.ClientSession:
        # Made in the event loop that uses it. The node has time limits of its own.
        if self._http is None:
            self._http = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
            )
        return self._http

    def __del__(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDED_WITHIN_S)


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    async with answer:
        async for piece in answer.content.iter_any():
            yield piece


def application(args: dict[str, str]) -> serve.Application:
    """The application of `serve.yaml`, with its `args`: `model`, `python`, and settings in capitals."""
    settings = {name: str(value) for name, value in args.items() if name.isupper()}
    return Node.bind(args["model"], settings, args.get("python", ""))  # type: ignore[attr-defined]
