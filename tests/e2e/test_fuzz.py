"""schemathesis sends what the OpenAPI document describes, and what it excludes, to the real service.

`make fuzz` runs it for minutes. What it is told of this service is in `tests/schemathesis.toml`.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from llmservice.environment import BASE_DIR
from tests.e2e.conftest import StartService
from tests.models import save_tiny_model
from tests.openai_api import TEMPLATE

# The same requests in every run, at the bounds of every field and beyond: a failure is no matter of luck.
BOUNDED = "--phases examples,coverage --generation-deterministic --max-time 20"
SCHEMATHESIS = "from schemathesis.cli import schemathesis; schemathesis()"


def test_schemathesis_finds_nothing(start_service: StartService, tmp_path: Path) -> None:
    # Short texts of a tiny model, because the requests are many. A wrong key in each may not lock it out.
    service = start_service(
        LLM_MODEL=str(save_tiny_model(tmp_path / "tiny", chat_template=TEMPLATE)),
        LLM_MAX_NEW_TOKENS="4",
        LLM_FAILURES_PER_MINUTE="0",
    )
    service.wait_ready()
    rotated = service.create_key("rotated")
    options = shlex.split(os.environ.get("FUZZ_ARGS", BOUNDED))
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCHEMATHESIS, "--config-file", "tests/schemathesis.toml"),
            *("run", f"{service.url}/schema", *options),
        ],
        cwd=BASE_DIR,
        env={**os.environ, "FUZZ_KEY": service.key, "FUZZ_ROTATED_KEY": rotated},
        stdout=None if "FUZZ_ARGS" in os.environ else subprocess.PIPE,  # make fuzz shows its progress
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in service.log.read_text()
