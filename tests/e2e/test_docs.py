"""The README's commands, run as they stand."""

import json
import re
import subprocess
from http import HTTPStatus

import pytest

from llmservice.environment import BASE_DIR
from tests.e2e.conftest import Service

README = (BASE_DIR / "README.md").read_text()
COMMANDS = re.findall(r"^```bash\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_the_readme_has_the_commands_that_one_needs() -> None:
    assert sum("/generate" in command for command in COMMANDS) >= 2
    assert any("/health" in command for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_works_as_it_stands(service: Service, command: str) -> None:
    assert command.count("http://localhost:8000") == 1
    shown = command.replace("http://localhost:8000", service.url)

    done = subprocess.run(
        ["bash", "-c", shown.rstrip() + " --silent --write-out '\\n%{http_code}'"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )

    body, status = done.stdout.rsplit("\n", 1)
    assert int(status) == HTTPStatus.OK
    answer = json.loads(body)
    if "/generate" in command:
        sent = re.search(r"-d '(.*)'", command)
        assert sent is not None
        prompt = json.loads(sent[1])["prompt"]
        assert answer["generated_text"].startswith(prompt)
        assert answer["usage"]["completion_tokens"] > 0
