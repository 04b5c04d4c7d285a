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
            "description": "A secret of the API key that you received from an administrator. Under `/v1` it may "
            "also be sent as `Authorization: Bearer`.",
        }


class BearerScheme(APIKeyScheme):
    """One scheme for all endpoints, so that `/docs` asks for the key once."""

    target_class = "accounts.authentication.BearerAuthentication"
