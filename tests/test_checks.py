import pytest
from django.core import checks
from pytest_django import Settings

from inference.engine.config import usable_cpus
from llmservice.checks import is_loopback
from llmservice.environment import DEFAULT_API_KEY


def warnings(*, deploy: bool = False) -> set[str]:
    found = checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=deploy)
    return {str(message.id) for message in found if str(message.id).startswith("llmservice.")}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("192.0.2.7", False),
        ("llm.example", False),
    ],
)
def test_only_loopback_addresses_are_private_to_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_loopback_address_has_no_warnings(settings: Settings) -> None:
    settings.HOST, settings.DEBUG, settings.API_KEY = "127.0.0.1", True, DEFAULT_API_KEY

    assert warnings() == set()


def test_debug_and_the_default_key_have_warnings_if_others_can_reach_the_service(
    settings: Settings,
) -> None:
    settings.HOST, settings.DEBUG, settings.API_KEY = "0.0.0.0", True, DEFAULT_API_KEY

    assert warnings() == {"llmservice.W001", "llmservice.W002"}


def test_a_deployment_behind_a_loopback_address_has_the_same_warnings(settings: Settings) -> None:
    settings.HOST, settings.DEBUG, settings.API_KEY = "127.0.0.1", True, DEFAULT_API_KEY

    assert warnings(deploy=True) == {"llmservice.W001", "llmservice.W002"}


def test_another_key_without_debug_has_no_warnings_anywhere(settings: Settings) -> None:
    settings.HOST, settings.DEBUG, settings.API_KEY = "0.0.0.0", False, "another-key"

    assert warnings(deploy=True) == set()


def test_a_warning_does_not_contain_the_key(settings: Settings) -> None:
    settings.HOST, settings.API_KEY = "0.0.0.0", DEFAULT_API_KEY

    assert not any(DEFAULT_API_KEY in str(message.msg) for message in checks.run_checks())


@pytest.mark.parametrize(("threads", "expected"), [(0, False), (1, False), (1024, True)])
def test_more_threads_than_cpus_have_a_warning_that_says_how_many_there_are(
    settings: Settings, threads: int, expected: bool
) -> None:
    settings.LLM_THREADS = threads

    found = [str(message.msg) for message in checks.run_checks() if message.id == "llmservice.W003"]

    assert bool(found) is expected
    assert all(f"only {usable_cpus()} CPUs" in text for text in found)
