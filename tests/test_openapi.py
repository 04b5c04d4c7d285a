"""The OpenAPI document is valid, complete and true."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate
from pytest_django import Settings

import llmservice
from accounts import services
from inference import runtime
from inference.api.serializers import GenerateRequestSerializer
from llmservice.http import codes
from tests.models import tiny_engine
from tests.test_generate_fields import INVALID_FIELDS

WITHOUT_A_KEY = {"/health", "/ready", "/keys/revoke"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    response = Client().get("/schema")
    assert response.status_code == 200
    loaded: dict[str, Any] = json.loads(response.content)
    return loaded


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> OAS30Validator:
    return OAS30Validator({**schema, "components": document["components"]})


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
        ("/v1/responses", "post"),
        ("/keys/me", "get"),
        ("/keys/me/rotate", "post"),
        ("/keys/revoke", "post"),
    }


def test_every_operation_declares_its_auth(document: dict[str, Any]) -> None:
    scheme = document["components"]["securitySchemes"]["ApiKeyAuth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == ("apiKey", "header", "X-API-Key")
    for path, _, operation in operations(document):
        expected: list[Any] = [] if path in WITHOUT_A_KEY else [{"ApiKeyAuth": []}]
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
            for content in body["content"].values():
                assert content["examples"]
                for example in content["examples"].values():
                    validator(document, content["schema"]).validate(example["value"])


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
        ("top_p", 0, 1, 1),
        ("repetition_penalty", 0.1, 10, 1),
    ]:
        described = fields[field]
        assert (described["minimum"], described["maximum"], described["default"]) == (
            minimum,
            maximum,
            default,
        )
    assert fields["do_sample"]["default"] is True
    assert fields["seed"]["nullable"] is True
    assert fields["top_p"]["exclusiveMinimum"] is True
    assert (fields["stop"]["maxItems"], fields["stop"]["default"]) == (4, [])


def test_the_service_refuses_what_the_document_refuses(document: dict[str, Any]) -> None:
    described = validator(document, {"$ref": "#/components/schemas/GenerateRequest"})
    for body, _, reason in INVALID_FIELDS:
        assert not GenerateRequestSerializer(data=body).is_valid()
        # JSON Schema cannot exclude single characters from a text.
        assert not described.is_valid(body) or reason in {"Null", "Surrogate"}, body


def test_every_answer_of_the_service_is_described(
    document: dict[str, Any], client: Client, db: None, settings: Any
) -> None:
    settings.MAX_BODY_BYTES = 1000
    limits = {"requests_per_minute": 1, "tokens_per_day": 1000, "max_concurrent": 1}
    key = {"X-API-Key": services.create_key(name="tests", limits=limits).plaintext}
    # A refused request counts against the requests a minute.
    many = services.create_key(name="many", limits={"requests_per_minute": 60})
    free = {"X-API-Key": many.plaintext}
    good = {"prompt": "Once", "max_new_tokens": 2}
    json_type = "application/json"

    def answers() -> Iterator[tuple[str, str, Any]]:
        runtime.install(tiny_engine())
        try:
            yield "/health", "get", client.get("/health")
            yield "/ready", "get", client.get("/ready")
            yield "/generate", "post", client.post("/generate", good, json_type, headers=key)
            yield "/generate", "post", client.post("/generate", good, json_type, headers=key)
            yield "/generate", "post", client.post("/generate", good, json_type)
            yield "/keys/me", "get", client.get("/keys/me", headers=key)
            yield "/keys/me", "get", client.get("/keys/me")
            yield "/keys/me/rotate", "post", client.post("/keys/me/rotate", {"x": 1}, json_type, headers=key)
            yield "/keys/me/rotate", "post", client.post("/keys/me/rotate", {}, json_type, headers=key)
            yield "/keys/me/rotate", "post", client.post("/keys/me/rotate", {}, json_type, headers=key)
            yield "/keys/revoke", "post", client.post("/keys/revoke", {"secret": "a"}, json_type)
            yield "/keys/revoke", "post", client.post("/keys/revoke", {}, json_type)
            yield "/generate", "post", client.post("/generate", "{", json_type, headers=free)
            yield "/generate", "post", client.post("/generate", {}, json_type, headers=free)
            yield "/generate", "post", client.post("/generate", "{}", "text/plain", headers=free)
            yield "/generate", "post", client.post("/generate", "x" * 2000, json_type, headers=key)
        finally:
            runtime.stop()
        yield "/ready", "get", client.get("/ready")
        yield "/generate", "post", client.post("/generate", good, json_type, headers=key)

    statuses = set()
    for path, method, answer in answers():
        statuses.add(answer.status_code)
        described = document["paths"][path][method]["responses"][str(answer.status_code)]
        schema = described["content"][answer["Content-Type"]]["schema"]
        validator(document, schema).validate(json.loads(answer.content))
        assert set(described.get("headers", {})) <= set(answer.headers)
    assert statuses == {200, 400, 403, 409, 413, 415, 422, 429, 503}


def test_the_codes_of_problems_are_an_enumeration(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    [reference] = schemas["Problem"]["properties"]["code"]["allOf"]
    enumeration = schemas[reference["$ref"].rpartition("/")[2]]["enum"]
    assert enumeration == [code.name for code in codes.declared()]
    assert {"key_missing", "prompt_too_long", "not_found"} <= set(enumeration)


def test_the_root_address_redirects_to_the_documentation(client: Client) -> None:
    response = client.get("/", follow=True)
    assert response.redirect_chain == [("/docs", 302)]
    assert b"swagger-ui" in response.content


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
