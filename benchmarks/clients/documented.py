"""The snippets of docs/api.md that need what `make clients` installs: the blocks with the word `clients`."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.clients.client import Failed, Served, ensure
from llmservice.environment import BASE_DIR, DEFAULT_API_KEY
from tests.markdown import blocks

PAGE = BASE_DIR / "docs" / "api.md"
URL = "http://localhost:8000"
MODEL = "SmolLM2-135M-Instruct"
WORD = "clients"


def run_documented(
    served: Served,
    language: str,
    *,
    containing: str,
    instead: Mapping[str, str] | None = None,
    folder: Path = BASE_DIR,
) -> str:
    """Run the one snippet in this language that contains a text; returns what it prints.

    Args:
        instead: texts to replace besides the service's address, key and model.
        folder: where it runs.

    Raises:
        Failed: there is no such snippet, or it ended with an error.
    """
    found = [
        block.text
        for block in blocks(PAGE)
        if (block.language, block.word) == (language, WORD) and containing in block.text
    ]
    if len(found) != 1:
        raise Failed(f"{PAGE.name} has {len(found)} snippets in {language} with “{containing}”")
    replacements = {
        URL: served.url,
        DEFAULT_API_KEY: served.key,
        f"var/models/{MODEL}": str(served.folder),
        MODEL: served.model,
        **(instead or {}),
    }
    [text] = found
    for old, new in replacements.items():
        text = text.replace(old, new)
    command = {
        "sh": ["bash", "-euo", "pipefail", "-c", text],
        "js": ["node", "--input-type=module", "-e", text],
    }[language]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    ensure(done.returncode == 0, f"{done.stdout}\n{done.stderr}")
    return done.stdout
