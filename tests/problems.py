"""How the tests look at an error that the service answers."""

import json
from http import HTTPStatus
from typing import Any

from llmservice.http import codes


def problem(response: Any, status: int) -> dict[str, Any]:
    """Checks that the response is this status as a problem document, and returns the document."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    assert document["status"] == status
    assert document["title"] == HTTPStatus(status).phrase
    assert document["type"] == "about:blank"
    code = codes.named(document["code"])
    assert code is not None, "clients decide by the code, so each has to be declared"
    assert code.status == status
    assert isinstance(document["detail"], str)
    assert document["detail"]
    assert "Traceback" not in response.content.decode()
    return document
