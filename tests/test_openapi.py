"""The OpenAPI document is valid, complete and true."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from openapi_spec_validator import validate
from pytest_django import Settings

import llmservice
from inference.api.serializers import GenerateRequestSerializer
from llmservice.http import codes
from llmservice.http.openai_error import is_form_of
from tests.openapi_document import check_content, closed, operations, served, validator
from tests.test_generate_fields import INVALID_FIELDS

WITHOUT_A_KEY = {"/health", "/ready", "/keys/revoke"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return served(Client())


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document)
    assert document["info"]["title"] == "llmservice"
    assert document["info"]["version"]


def test_generating_the_document_causes_no_warning(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


def test_every_endpoint_is_described(document: dict[str, Any]) -> None:
    described = {(path, method) for path, method, _ in operations(document)}
    assert described == {
        ("/health", "get"),
        ("/ready", "get"),
        ("/generate", "post"),
        ("/v1/models", "get"),
        ("/v1/models/{name}", "get"),
        ("/v1/completions", "post"),
        ("/v1/chat/completions", "post"),
        ("/tokenize", "post"),
        ("/detokenize", "post"),
        ("/v1/responses", "post"),
        ("/keys/me", "get"),
        ("/keys/me/rotate", "post"),
        ("/keys/revoke", "post"),
    }


def test_every_operation_declares_its_auth(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["ApiKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    bearer = document["components"]["securitySchemes"]["BearerAuth"]
    assert (bearer["type"], bearer["scheme"]) == ("http", "bearer")
    for path, _, operation in operations(document):
        schemes = ["ApiKeyAuth", "BearerAuth"] if is_form_of(path) else ["ApiKeyAuth"]
        expected: list[Any] = [] if path in WITHOUT_A_KEY else [{scheme: []} for scheme in schemes]
        assert operation.get("security", []) == expected, path


def test_every_operation_and_answer_has_a_description_and_valid_examples(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags
        answers = operation["responses"].values()
        assert all(answer["description"] for answer in answers)
        bodies = [*answers, operation["requestBody"]] if method == "post" else list(answers)
        for body in bodies:
            for media_type, content in body["content"].items():
                assert content["examples"]
                for example in content["examples"].values():
                    check_content(closed(document), media_type, content["schema"], example["value"])


def test_parameters_of_the_address_change_nothing(client: Client, document: dict[str, Any]) -> None:
    response = client.get("/schema", {"version": "9\n9", "lang": "de", "format": "yaml"})
    assert response.json() == document
    assert "9" not in response["Content-Disposition"]


def test_the_examples_name_the_served_model(client: Client, settings: Settings) -> None:
    settings.LLM_MODEL = "openai-community/gpt2-medium"
    before = json.dumps(served(client))
    settings.LLM_MODEL = "our/model"
    assert "openai-community" in before
    assert json.dumps(served(client)) == before.replace("openai-community/gpt2-medium", "our/model")


def test_every_field_has_a_description_and_its_bounds_and_default(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            assert described.get("description") or "$ref" in described, f"{name}.{field}"
    request = schemas["GenerateRequest"]
    assert request["required"] == ["prompt"]
    assert request["additionalProperties"] is False
    fields = request["properties"]
    for field, minimum, maximum, default in [
        ("max_new_tokens", 1, 200, 50),
        ("temperature", 0.1, 2.0, 0.7),
        ("top_k", 0, 1000, 50),
        ("repetition_penalty", 0.1, 10, 1),
    ]:
        described = fields[field]
        assert (described["minimum"], described["maximum"], described["default"]) == (
            minimum,
            maximum,
            default,
        )
    assert fields["do_sample"]["default"] is True
    assert fields["seed"]["type"] == ["integer", "null"]
    assert (fields["top_p"]["exclusiveMinimum"], fields["top_p"]["maximum"]) == (0, 1)
    assert (fields["stop"]["maxItems"], fields["stop"]["default"]) == (4, [])


def test_the_service_refuses_what_the_document_refuses(document: dict[str, Any]) -> None:
    described = validator(document, {"$ref": "#/components/schemas/GenerateRequest"})
    for body, _, reason in INVALID_FIELDS:
        assert not GenerateRequestSerializer(data=body).is_valid()
        # No pattern of JSON Schema can name surrogates.
        assert not described.is_valid(body) or reason == "Surrogate", body


def test_a_limit_of_the_settings_is_in_the_document(client: Client, settings: Settings) -> None:
    settings.LLM_MAX_NEW_TOKENS = 77
    schemas = served(client)["components"]["schemas"]
    assert schemas["ChatRequest"]["properties"]["max_completion_tokens"]["maximum"] == 77
    assert schemas["CompletionRequest"]["properties"]["max_tokens"]["maximum"] == 77


def test_the_codes_of_problems_are_an_enumeration(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    [reference] = schemas["Problem"]["properties"]["code"]["allOf"]
    enumeration = schemas[reference["$ref"].rpartition("/")[2]]["enum"]
    assert enumeration == [code.name for code in codes.declared()]
    assert {"key_missing", "prompt_too_long", "not_found"} <= set(enumeration)


def test_the_documentation_uses_no_other_host_and_no_inline_script(client: Client) -> None:
    page = client.get("/docs").content.decode()
    assert "//" not in page.replace("http://testserver", "")
    assert "<script>" not in page


def test_the_documentation_names_the_base_url_and_the_model(client: Client, settings: Settings) -> None:
    settings.LLM_MODEL = "openai-community/gpt2-medium"
    page = client.get("/docs", headers={"host": "localhost:8123"}).content.decode()
    assert "<code>http://localhost:8123</code>" in page
    assert "<code>openai-community/gpt2-medium</code>" in page


def test_the_documentation_does_not_name_the_folder_of_a_model(
    client: Client, settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "our-model"
    folder.mkdir()
    settings.LLM_MODEL = str(folder)
    page = client.get("/docs").content.decode()
    assert "<code>our-model</code>" in page
    assert str(tmp_path) not in page


def test_the_document_has_the_version_of_the_package(document: dict[str, Any]) -> None:
    assert document["info"]["version"] == llmservice.__version__
