"""Node.js: its own `fetch`, and OpenAI's official client for JavaScript, as docs/api.md has them."""

import json
import shutil
import subprocess

from benchmarks.clients.client import Absent, Client, Served, ensure
from benchmarks.clients.documented import run_documented
from llmservice.environment import BASE_DIR

NODE = shutil.which("node")
FOLDER = BASE_DIR / "var" / "clients" / "node"
"""Where `make clients` installs the package, if there is npm."""
PACKAGE = FOLDER / "node_modules" / "openai" / "package.json"


def version() -> str:
    node = "-"
    if NODE is not None:
        node = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    package = json.loads(PACKAGE.read_text())["version"] if PACKAGE.exists() else "-"
    return f"{node}, openai {package}"


client = Client("Node.js", version=version())


@client.check
def fetch(served: Served) -> None:
    """fetch with a streamed body, as in docs/api.md"""
    if NODE is None:
        raise Absent("Node.js is not installed")
    ensure(bool(run_documented(served, "js", containing="fetch(").strip()), "no text")


@client.check
def openai_package(served: Served) -> None:
    """The `openai` package, chat and stream, as in docs/api.md"""
    if NODE is None or not PACKAGE.exists():
        raise Absent("Node.js or npm is not installed")
    printed = run_documented(served, "js", containing='from "openai"', folder=FOLDER)
    ensure(bool(printed.strip()), "no text")
