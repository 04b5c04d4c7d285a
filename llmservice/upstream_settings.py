"""The settings of an engine that generates in place of this service's own."""

# ruff: noqa: RUF009 (`setting` makes a dataclass field)

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from inference.engine.upstream.config import EngineName, UpstreamConfig
from llmservice.variable import Topic, setting
from llmservice.variable_set import VariableSet

_ENDPOINTS = ("/completions", "/models", "/responses", "/embeddings")


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings(VariableSet):
    """The values of these settings."""

    llm_backend: Literal["engine", "upstream"] = setting(
        Topic.UPSTREAM,
        "engine",
        "What generates: the `engine` of this service, or an `upstream` engine with OpenAI's API.",
    )
    llm_upstream_url: str = setting(
        Topic.UPSTREAM, "", "URL of the upstream engine, such as `http://vllm:8000`, with or without `/v1`."
    )
    llm_upstream_api_key: str = setting(
        Topic.UPSTREAM, "", "Bearer token for the upstream engine, if it requires one.", secret=True
    )
    llm_upstream_model: str = setting(
        Topic.UPSTREAM,
        "",
        "Name of the model at the upstream engine, and here. If unset, the only one that it lists.",
    )
    llm_upstream_engine: EngineName = setting(
        Topic.UPSTREAM,
        UpstreamConfig.engine,
        "Which engine it is, and so which fields it takes beyond OpenAI's. `auto` goes by `owned_by` in its "
        "list of models; an unknown one is taken for `openai`.",
    )
    llm_upstream_context: int = setting(
        Topic.UPSTREAM,
        UpstreamConfig.context_length,
        "Tokens that a prompt and its completion may have together there; 0 asks the upstream engine.",
        at_least=0,
    )
    llm_upstream_connect_s: float = setting(
        Topic.UPSTREAM,
        UpstreamConfig.connect_s,
        "Seconds for a connection to the upstream engine.",
        at_least=0.1,
        at_most=600,
    )
    llm_upstream_first_byte_s: float = setting(
        Topic.UPSTREAM,
        UpstreamConfig.first_byte_s,
        "Seconds until the upstream engine begins its answer.",
        at_least=0.1,
        at_most=86400,
    )
    llm_upstream_silence_s: float = setting(
        Topic.UPSTREAM,
        UpstreamConfig.silence_s,
        "Seconds between two pieces of an answer of the upstream engine.",
        at_least=0.1,
        at_most=86400,
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The values in `environ`.

        Raises:
            ImproperlyConfigured: also if an upstream engine is wanted, and cannot be reached by this URL or
                with this key.
        """
        values = super().read(environ)
        if values.llm_backend != "upstream":
            return values
        if not _is_url(values.llm_upstream_url):
            raise ImproperlyConfigured(
                "LLM_BACKEND=upstream needs LLM_UPSTREAM_URL, the URL of the engine, such as "
                "http://vllm:8000/v1."
            )
        if not _is_header_text(values.llm_upstream_api_key):
            raise ImproperlyConfigured(
                "LLM_UPSTREAM_API_KEY must be of visible ASCII characters, without spaces and line ends: it "
                "is sent in a header."
            )
        return values


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            return False
    except ValueError:
        return False
    # Paths are added to it; that of one endpoint would only ever answer 404.
    return (
        _is_header_text(text) and not (parts.query or parts.fragment) and not parts.path.endswith(_ENDPOINTS)
    )


def _is_header_text(text: str) -> bool:
    return all("!" <= character <= "~" for character in text)
