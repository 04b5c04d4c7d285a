from dataclasses import fields
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from inference.engine.config import EngineConfig
from llmservice.environment import BASE_DIR, DEFAULT_API_KEY, Environment
from llmservice.model_settings import DEFAULT_MODEL


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


def test_an_empty_variable_counts_as_unset() -> None:
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
        ("LLM_DEVICE", "gpu", "LLM_DEVICE must be auto, cpu or cuda, not 'gpu'."),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be text or json, not 'xml'."),
        (
            "TRUSTED_PROXIES",
            "10.0.0.1, lb",
            "TRUSTED_PROXIES contains an invalid item: 'lb' does not appear to be an IPv4 or IPv6 network.",
        ),
        (
            "LLM_MAX_QUEUE",
            "3",
            "LLM_MAX_QUEUE is not a setting of this service: did you mean LLM_MAX_QUEUED?",
        ),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_what_it_must_be(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        Environment.read({name: value})

    assert str(refusal.value) == expected


def test_the_refusal_of_an_unknown_variable_lists_the_known_ones_if_none_is_similar() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^LLM_XYZZY is not a setting .* LLM_KV_CACHE_TOKENS"):
        Environment.read({"LLM_XYZZY": "1"})


def test_variables_of_other_programs_are_ignored() -> None:
    Environment.read({"PATH": "/bin", "LLMSERVICE": "1", "DJANGO_SETTINGS_MODULE": "x"})


def test_secrets_do_not_show_in_the_repr() -> None:
    names = ("SECRET_KEY", "API_KEY", "API_KEY_PEPPER", "DATABASE_URL", "METRICS_TOKEN")

    shown = repr(Environment.read(dict.fromkeys(names, "hush-hush")))

    assert "hush" not in shown


def test_a_setting_of_the_engine_has_the_type_and_default_of_the_field_that_it_sets() -> None:
    of_engine = {field.name: (field.type, field.default) for field in fields(EngineConfig)}
    variables = Environment.variables()
    settings = {
        variables[field.name.upper()].engine_field: (field.type, field.default)
        for field in fields(Environment)
        if variables[field.name.upper()].engine_field
    }

    assert settings.items() <= of_engine.items()


def test_each_topic_is_declared_in_one_piece() -> None:
    """The table in the documentation has one section for each run of declarations with the same topic."""
    topics = [variable.topic for variable in Environment.variables().values()]

    assert topics == sorted(topics, key=topics.index)


@pytest.mark.parametrize(
    ("environ", "dtype"),
    [
        ({"LLM_QUANTIZATION": "int8"}, "int8"),
        ({"LLM_QUANTIZATION": "int8", "LLM_DTYPE": ""}, "int8"),
        ({"LLM_QUANTIZATION": "int8", "LLM_DTYPE": "auto"}, "auto"),
        ({"LLM_QUANTIZATION": "int8", "LLM_DTYPE": "float32"}, "float32"),
        ({"LLM_QUANTIZATION": "int8", "LLM_DTYPE": "int8"}, "int8"),
        ({"LLM_QUANTIZATION": "none", "LLM_DTYPE": "float32"}, "float32"),
        ({"LLM_QUANTIZATION": "none", "LLM_DTYPE": "int8"}, "int8"),
        ({"LLM_QUANTIZATION": "none"}, "auto"),
    ],
)
def test_8_bits_can_be_asked_for_by_either_setting_and_the_dtype_decides(
    environ: dict[str, str], dtype: str
) -> None:
    assert Environment.read(environ).llm_dtype == dtype


@pytest.mark.parametrize(
    "url",
    [
        *("", "vllm:8000", "ftp://vllm", "http://", "http://[::1", "http://vllm:0", "http://vllm:99999"),
        *("http://vllm a", "http://vllm/v1?key=a", "http://vllm/v1#a", "http://vllm/v1/chat/completions"),
    ],
)
def test_an_upstream_engine_needs_a_url(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"needs LLM_UPSTREAM_URL, the URL of the engine"):
        Environment.read({"LLM_BACKEND": "upstream", "LLM_UPSTREAM_URL": url})
    assert Environment.read({"LLM_UPSTREAM_URL": url}).llm_backend == "engine"


@pytest.mark.parametrize("key", ["sk-ä", "sk a", "sk\na", "sk\x00"])
def test_the_key_of_an_upstream_engine_fits_a_header(key: str) -> None:
    environ = {"LLM_BACKEND": "upstream", "LLM_UPSTREAM_URL": "http://vllm", "LLM_UPSTREAM_API_KEY": key}
    with pytest.raises(ImproperlyConfigured, match=r"^LLM_UPSTREAM_API_KEY must be of visible ASCII"):
        Environment.read(environ)
    assert Environment.read(environ | {"LLM_UPSTREAM_API_KEY": "sk-a"}).llm_upstream_api_key == "sk-a"
