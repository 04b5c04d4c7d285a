"""The API key in the OpenAPI document; importing this module registers it, once the apps are ready."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from accounts.authentication import HEADER


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.APIKeyAuthentication"
    name = "ApiKeyAuth"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": HEADER,
            "description": "A secret of the API key that you received from an administrator. Under `/v1`, "
            "`Authorization: Bearer` takes it as well.",
        }


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The same scheme, so that `/docs` asks for the key once."""

    target_class = "accounts.authentication.BearerAuthentication"
    name: list[str] = []

    def get_security_requirement(self, auto_schema: Any) -> dict[str, list[Any]]:
        return {APIKeyScheme.name: []}

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return []
