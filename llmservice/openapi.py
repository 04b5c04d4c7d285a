"""The head of the OpenAPI document, for drf-spectacular; the operations are described at their views.

The settings read this file, so it imports nothing of Django's.
"""

from llmservice import __version__

SPECTACULAR_SETTINGS = {
    "TITLE": "llmservice",
    "VERSION": __version__,
    "DESCRIPTION": (
        "Text from a language model, over HTTP, behind API keys.\n\n"
        "Press **Authorize**, enter your API key, then open **POST /generate** and press **Execute**.\n\n"
        "Errors are problem documents (RFC 9457, `application/problem+json`) with the reason in `detail`."
    ),
    "TAGS": [
        {"name": "Generation", "description": "Text from the model; needs an API key."},
        {"name": "Keys", "description": "Your API key: its limits and usage, a new secret, a leaked one."},
        {
            "name": "Service",
            "description": "How the service is; for probes and load balancers, without a key.",
        },
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
}
