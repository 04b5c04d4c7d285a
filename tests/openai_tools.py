"""What the tests of tools share: a function, and a service whose model has a chat template."""

import json
from collections.abc import Callable
from typing import Any

from django.test import Client

from inference import runtime
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from tests.models import END_OF_TEXT, byte_tokenizer, tiny_engine

FIND = {
    "type": "object",
    "properties": {
        "q": {"type": "string", "maxLength": 3},
        "n": {"type": "integer", "maximum": 9, "minimum": 0},
    },
    "required": ["q", "n"],
    "additionalProperties": False,
}


def engine_with(template: str, special: str = END_OF_TEXT) -> Engine:
    """An engine whose model has this chat template and this special token."""
    tokenizer = byte_tokenizer(special)
    tokenizer.chat_template = template
    return tiny_engine(EngineConfig(kv_cache_tokens=8192), context_length=1024, tokenizer=tokenizer)


def serve(client: Client, key: str, engine: Engine, *, path: str) -> Callable[..., Any]:
    """Serve the engine's model; returns what posts bodies to a path under `/v1/`."""
    runtime.install(engine)

    def post(**body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": engine.model_name, **body}
        return client.post(f"/v1/{path}", json.dumps(body), "application/json", headers=headers)

    return post
