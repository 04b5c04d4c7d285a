import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from llmservice.environment import BASE_DIR, DEFAULT_API_KEY, DEFAULT_MODEL, Environment


def test_an_empty_environment_gives_the_defaults() -> None:
    environment = Environment.read({})

    assert environment.llm_model == DEFAULT_MODEL
    assert environment.api_key == DEFAULT_API_KEY
    assert (environment.host, environment.port) == ("127.0.0.1", 8000)
    assert environment.debug is False
    assert environment.var_dir == BASE_DIR / "var"


def test_each_value_has_the_type_of_its_default() -> None:
    environment = Environment.read(
        {
            "PORT": "8123",
            "DEBUG": "Yes",
            "LLM_REQUEST_TIMEOUT_S": "2.5",
            "ALLOWED_HOSTS": "a.example, b.example,",
            "VAR_DIR": "/tmp/../tmp/kept",  # noqa: S108
            "LLM_MODEL": " some/model ",
        }
    )

    assert environment.port == 8123
    assert environment.debug is True
    assert environment.llm_request_timeout_s == 2.5
    assert environment.allowed_hosts == ("a.example", "b.example")
    assert environment.var_dir == Path("/tmp/kept")  # noqa: S108
    assert environment.llm_model == "some/model"


def test_a_variable_set_to_nothing_counts_as_not_set() -> None:
    assert Environment.read({"API_KEY": "", "PORT": " "}) == Environment.read({})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", "PORT must be a whole number from 1 to 65535, not 'http'."),
        ("PORT", "0", "PORT must be a whole number from 1 to 65535, not '0'."),
        ("PORT", "80.5", "PORT must be a whole number from 1 to 65535, not '80.5'."),
        ("DEBUG", "maybe", "DEBUG must be true or false, not 'maybe'."),
        ("LLM_MAX_QUEUED", "-1", "LLM_MAX_QUEUED must be a whole number from 0 to 4096, not '-1'."),
        (
            "LLM_REQUEST_TIMEOUT_S",
            "nan",
            "LLM_REQUEST_TIMEOUT_S must be a number from 0.1 to 86400, not 'nan'.",
        ),
        ("MAX_BODY_BYTES", "1", "MAX_BODY_BYTES must be a whole number of at least 1024, not '1'."),
        ("LLM_DEVICE", "gpu", "LLM_DEVICE must be auto or cpu or cuda, not 'gpu'."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be text or json, not 'xml'."),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1, lb",
            "TRUSTED_PROXIES has a part that is wrong: 'lb' does not appear to be an IPv4 or IPv6 network.",
        ),
        (
            "LLM_MAX_QUEUE",
            "3",
            "LLM_MAX_QUEUE is not a setting of this service: did you mean LLM_MAX_QUEUED?",
        ),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_it_must_be(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        Environment.read({name: value})

    assert str(refusal.value) == expected


def test_an_unknown_variable_far_from_any_other_is_told_what_there_is() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^LLM_XYZZY is not a setting .* LLM_KV_CACHE_TOKENS"):
        Environment.read({"LLM_XYZZY": "1"})


def test_variables_of_others_are_left_alone() -> None:
    Environment.read({"PATH": "/bin", "LLMSERVICE": "1", "DJANGO_SETTINGS_MODULE": "x"})


def test_secrets_do_not_show_in_the_repr() -> None:
    names = ("SECRET_KEY", "API_KEY", "API_KEY_PEPPER", "DATABASE_URL", "METRICS_TOKEN")

    shown = repr(Environment.read(dict.fromkeys(names, "hush-hush")))

    assert "hush" not in shown


def test_the_readme_has_every_setting_with_its_default_and_no_other() -> None:
    readme = (BASE_DIR / "README.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \| ([^|]*) \|$", readme, flags=re.MULTILINE)

    expected = []
    for field in fields(Environment):
        assert field.default is not MISSING
        default = field.default
        if isinstance(default, Path):
            default = f"{default.relative_to(BASE_DIR)}/"
        shown = (
            str(default).lower()
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else default
        )
        expected.append(
            (field.name.upper(), f"`{shown}`" if shown not in ("", ()) else "", field.metadata["help"])
        )

    assert rows == expected
