"""curl."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from benchmarks.clients.client import Absent, Client, Served, ensure

CURL = shutil.which("curl")
PROMPT = {"prompt": "Once upon a time", "max_tokens": 24, "seed": 1}


def version() -> str:
    if CURL is None:
        return "-"
    return subprocess.run([CURL, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]


client = Client("curl", version=version())


@client.check
def stream(served: Served) -> str:
    """A completion with `--no-buffer`: events one by one, together the unstreamed text"""
    asked = {"model": served.model, **PROMPT}
    whole = json.loads("".join(_post(served, asked)))["choices"][0]["text"]
    lines = list(_post(served, {**asked, "stream": True}))
    events = [line.removeprefix("data: ").strip() for line in lines if line.startswith("data: ")]
    ensure(events[-1] == "[DONE]", events[-1])
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1])
    ensure(text == whole and len(events) > 10, [whole, text, len(events)])
    return f"{len(events)} events"


@client.check
def refusal(served: Served) -> None:
    """A wrong field: status 400 and OpenAI's error object"""
    answer = "".join(_post(served, {"model": served.model, **PROMPT, "temperature": 3}, fail=False))
    ensure(json.loads(answer)["error"]["param"] == "temperature", answer)


def _post(served: Served, body: dict[str, Any], *, fail: bool = True) -> Iterator[str]:
    """The lines of the answer as they come."""
    if CURL is None:
        raise Absent("curl is not installed")
    command = [CURL, "--silent", "--show-error", "--no-buffer", *(["--fail-with-body"] if fail else [])]
    command += ["-H", f"Authorization: Bearer {served.key}", "-H", "Content-Type: application/json"]
    command += ["-d", json.dumps(body), f"{served.api}/completions"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101
        yield from process.stdout
    ensure(process.returncode == 0, f"curl ended with {process.returncode}")
