"""What ends a start before the server handles signals itself, and what a start without torch says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmservice.environment import BASE_DIR, PREFLIGHT_PASSED
from tests.e2e.conftest import free_port
from tests.interruptible import interruptible
from tests.waiting import wait_for

pytestmark = pytest.mark.slow  # It starts processes.

SERVE = [sys.executable, "manage.py", "serve"]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py"]
UNREACHABLE = "postgres://nobody@127.0.0.1:9/none"


def started(command: list[str], folder: Path, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=BASE_DIR,
        env={
            **os.environ, "DJANGO_SETTINGS_MODULE": "llmservice.settings", "VAR_DIR": str(folder),
            "LLM_MODEL": str(folder), "LLM_BACKEND": "engine", "PYTHONUNBUFFERED": "1",
            "PORT": str(free_port()), **environ,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def output_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            break
    return "".join(lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_waits_for_the_database_ends_by_itself(tmp_path: Path, number: signal.Signals) -> None:
    """Its status says that it has ended itself: the system would not end the first process of a container."""
    with interruptible():
        process = started(SERVE, tmp_path, DATABASE_URL=UNREACHABLE, DATABASE_WAIT_S="600")
    assert "Waiting up to 600 s" in output_until(process, "Waiting up to")

    process.send_signal(number)

    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (128 + number, "")


def test_a_server_that_still_imports_ends_by_itself_and_leaves_no_preflight(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\nprint('importing')\ntime.sleep(600)\n")
    process = started(
        GUNICORN, tmp_path, PYTHONPATH=str(tmp_path), DATABASE_URL=UNREACHABLE, DATABASE_WAIT_S="600"
    )
    output_until(process, "importing")
    [preflight] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    process.send_signal(signal.SIGTERM)

    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    wait_for(lambda: not Path(f"/proc/{preflight}").exists())


def test_a_server_without_torch_says_so_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    command = (
        f"import os\nos.environ[{PREFLIGHT_PASSED!r}] = str(os.getpid())\n"
        f"os.execv({GUNICORN[0]!r}, {GUNICORN!r})"
    )
    process = started([sys.executable, "-c", command], tmp_path, PYTHONPATH=str(tmp_path))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "cannot be imported (No module named 'torch'): install requirements/cpu.txt" in output
    assert "Traceback" not in output
