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

# The same requests in every run and on every machine, at the bounds of every field and beyond. schemathesis
# takes some of them from sets, whose order depends on the seed of hashes.
BOUNDED = "--phases examples,coverage --generation-deterministic"
BOUNDED_ENVIRON = {"PYTHONHASHSEED": "0", "FUZZ_ONE_IN": "8"}
SCHEMATHESIS = "from schemathesis.cli import schemathesis; schemathesis()"


def test_schemathesis_finds_nothing(start_service: StartService, tmp_path: Path) -> None:
    # Short texts of a tiny model, because the requests are many. A wrong key in each may not lock it out.
    model = save_tiny_model(tmp_path / "tiny", context_length=2048, chat_template=TEMPLATE)
    service = start_service(
        LLM_MODEL=str(model),
        LLM_MAX_NEW_TOKENS="4",
        LLM_FAILURES_PER_MINUTE="0",
    )
    service.wait_ready()
    rotated = service.create_key("rotated")
    bounded = "FUZZ_ARGS" not in os.environ
    options = shlex.split(BOUNDED if bounded else os.environ["FUZZ_ARGS"])
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCHEMATHESIS, "--config-file", "tests/schemathesis.toml"),
            *("run", f"{service.url}/schema", *options),
        ],
        cwd=BASE_DIR,
        env={
            **os.environ,
            **(BOUNDED_ENVIRON if bounded else {}),
            "FUZZ_KEY": service.key,
            "FUZZ_ROTATED_KEY": rotated,
        },
        stdout=subprocess.PIPE if bounded else None,  # make fuzz shows its progress
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in service.log.read_text()
