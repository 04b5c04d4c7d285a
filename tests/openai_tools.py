"""What the tests of tools share: a function, and a service whose model has a chat template."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.test import Client

from inference import runtime
from inference.engine.config import EngineConfig
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


def serve(
    client: Client, key: str, *, template: str, path: str, special: str = END_OF_TEXT
) -> Iterator[Callable[..., Any]]:
    """Posts bodies to a path under `/v1/`, for a model with this chat template and this special token."""
    tokenizer = byte_tokenizer(special)
    tokenizer.chat_template = template
    engine = tiny_engine(EngineConfig(kv_cache_tokens=8192), context_length=1024, tokenizer=tokenizer)
    runtime.install(engine)

    def post(**body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": engine.model_name, **body}
        return client.post(f"/v1/{path}", json.dumps(body), "application/json", headers=headers)

    yield post
    runtime.stop()
