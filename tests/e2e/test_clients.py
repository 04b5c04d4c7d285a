"""`make clients` with those of its clients whose packages the tests have."""

import sys

import pytest

from benchmarks.clients.__main__ import main
from tests.e2e.conftest import Service


@pytest.fixture(scope="module")
def service(chatting_service: Service) -> Service:
    return chatting_service


def run(service: Service, client: str) -> int:
    options = ["--url", service.url, "--key", service.key, "--model", service.environ["LLM_MODEL"]]
    return main([client, *options, "--python", sys.executable])


@pytest.mark.parametrize("client", ["curl", "langchain", "llm_command", "openai_python"])
def test_the_client_works(service: Service, capsys: pytest.CaptureFixture[str], client: str) -> None:
    assert run(service, client) == 0
    printed = capsys.readouterr()
    assert " passed " in printed.out, printed.err
    assert "FAILED" not in printed.out


def test_a_client_that_is_not_installed_is_a_failure_that_says_what_to_do(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(service, "guidellm") == 1
    printed = capsys.readouterr().out
    assert "FAILED" in printed
    assert "make clients" in printed
