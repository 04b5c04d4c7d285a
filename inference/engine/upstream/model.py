"""What the upstream engine serves, as its list of models tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference.engine.errors import Unavailable
from inference.engine.upstream.answers import NO_MODEL, UNREADABLE
from inference.engine.upstream.client import UpstreamClient
from inference.engine.upstream.config import UpstreamConfig
from inference.engine.upstream.dialect import DIALECTS, Dialect, dialect_of

_SEVERAL = "The engine behind this service lists {count} models: LLM_UPSTREAM_MODEL has to name one."
_NO_LENGTH = (
    "The engine behind this service does not tell its context length: LLM_UPSTREAM_CONTEXT has to be set."
)


@dataclass(frozen=True, kw_only=True)
class UpstreamModel:
    """The model, and how its engine is spoken to."""

    name: str
    dialect: Dialect
    context_length: int


async def served_model(client: UpstreamClient, config: UpstreamConfig) -> UpstreamModel:
    """The model of the settings as the engine lists it.

    Raises:
        UpstreamFailure: the engine does not tell.
        Unavailable: it has no such model, or does not tell what has to be known of it.
    """
    answer = await client.get("v1/models")
    listed = answer.get("data")
    models = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    if not models:
        raise Unavailable(UNREADABLE)
    if not config.model and len(models) > 1:
        raise Unavailable(_SEVERAL.format(count=len(models)))
    found = next((one for one in models if config.model in ("", one.get("id"))), None)
    if found is None:
        raise Unavailable(NO_MODEL)
    length = config.context_length or _context_length(found)
    if not length:
        raise Unavailable(_NO_LENGTH)
    engine = config.engine
    return UpstreamModel(
        name=str(found.get("id")),
        dialect=dialect_of(found.get("owned_by")) if engine == "auto" else DIALECTS[engine],
        context_length=length,
    )


def _context_length(model: Mapping[str, Any]) -> int:
    meta = model.get("meta")
    of_meta = meta.get("n_ctx") or meta.get("n_ctx_train") if isinstance(meta, Mapping) else None
    found = (model.get("max_model_len"), model.get("context_length"), of_meta)
    return next((length for length in found if isinstance(length, int) and length > 0), 0)
