"""The general part of the OpenAPI document; the views describe the operations.

The settings import this module, so it must not import Django.
"""

from llmservice import __version__

SPECTACULAR_SETTINGS = {
    "TITLE": "llmservice",
    "OAS_VERSION": "3.1.1",
    "VERSION": __version__,
    "DESCRIPTION": (
        "Text generation with a language model, over HTTP, for holders of an API key.\n\n"
        "Press **Authorize**, enter your API key, then open **POST /generate** and press **Execute**.\n\n"
        "Errors are problem documents (RFC 9457, `application/problem+json`); `detail` states the reason. "
        "Under `/v1`, they are OpenAI's error objects.\n\n"
        "What is not valid HTTP is refused before any operation, with 400, 408, 414 or 431."
    ),
    "ENUM_NAME_OVERRIDES": {
        "FinishReasonEnum": "inference.api.openai.answer_schema.FINISH_REASONS",
        "ChatFinishReasonEnum": "inference.api.openai.chat_schema.REASONS",
        "ItemStatusEnum": "inference.api.openai.responses.schema.ITEM_STATUSES",
    },
    "TAGS": [
        {"name": "Generation", "description": "Text generation; requires an API key."},
        {
            "name": "OpenAI",
            "description": "The same models through OpenAI's API, for its clients; requires an API key.",
        },
        {
            "name": "Keys",
            "description": "Your API key: look at its limits and usage, rotate it, revoke a leaked secret.",
        },
        {
            "name": "Service",
            "description": "State of the service, for probes and load balancers; requires no key.",
        },
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "llmservice.http.schema_headers.describe_headers",
        "llmservice.http.schema_blank.describe_blank_once",
        "inference.api.served_model.name_served_model",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
}
