"""Every setting of the service: an environment variable with its type, default, bounds and description.

A setting is declared here once; everything else follows. `Environment.read(os.environ)` parses the variables,
`llmservice.settings` publishes the values to Django, `EngineConfig` takes those that name one of its fields,
and `docs/settings.md` and the list in `docker-compose.yml` are held against these declarations by tests.
"""

# ruff: noqa: RUF009 (`setting` makes a dataclass field)

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from django.core.exceptions import ImproperlyConfigured

from inference.engine.config import Device, EngineConfig, KVCacheDtype, WeightDtype
from llmservice.cors import check_origin
from llmservice.variable import Topic, setting
from llmservice.variable_set import VariableSet

BASE_DIR = Path(__file__).resolve().parent.parent
DEFAULT_API_KEY = "mysecurekey123"
DEFAULT_MODEL = "openai-community/gpt2-medium"


@dataclass(frozen=True, kw_only=True)
class Environment(VariableSet):
    """The values of all settings."""

    # --- Model
    llm_model: str = setting(
        Topic.MODEL, DEFAULT_MODEL, "Name of a model on the Hugging Face hub, or path of a model folder."
    )
    llm_device: Device = setting(
        Topic.MODEL,
        EngineConfig.device,
        "Device that runs the model. `auto` uses CUDA if PyTorch finds it and the weights are not 8-bit, "
        "otherwise the CPU.",
        engine_field="device",
    )
    llm_dtype: WeightDtype = setting(
        Topic.MODEL,
        EngineConfig.dtype,
        "Data type of the weights in memory. `auto` keeps the checkpoint's own: bfloat16 and float16 take "
        "half the memory of `float32` and give the same texts. `int8` takes a quarter and is faster.",
        engine_field="dtype",
    )
    llm_quantization: Literal["none", "int8"] = setting(
        Topic.MODEL, "none", "`int8` means `LLM_DTYPE=int8`; `none` leaves the choice to `LLM_DTYPE`."
    )
    llm_kv_cache_dtype: KVCacheDtype = setting(
        Topic.MODEL,
        EngineConfig.kv_cache_dtype,
        "Data type of the KV cache; `float16` takes half the memory of `float32`. `auto` uses `float16` with "
        "8-bit weights, otherwise `float32`.",
        engine_field="kv_cache_dtype",
    )

    # --- Capacity
    llm_threads: int = setting(
        Topic.CAPACITY,
        EngineConfig.threads,
        "CPU threads of the engine; 0 uses every CPU that the process may use.",
        at_least=0,
        at_most=1024,
        engine_field="threads",
    )
    llm_max_running: int = setting(
        Topic.CAPACITY,
        EngineConfig.max_running,
        "Requests that a worker processes at the same time.",
        at_least=1,
        at_most=1024,
        engine_field="max_running",
    )
    llm_max_queued: int = setting(
        Topic.CAPACITY,
        EngineConfig.max_queued,
        "Requests that may wait in a worker; further ones are answered with 503.",
        at_least=0,
        at_most=4096,
        engine_field="max_queued",
    )
    llm_kv_cache_tokens: int = setting(
        Topic.CAPACITY,
        EngineConfig.kv_cache_tokens,
        "Size of the KV cache in tokens (prompt and completion of all running requests together); 0 uses as "
        "much memory as is available.",
        at_least=0,
        engine_field="kv_cache_tokens",
    )
    llm_request_timeout_s: float = setting(
        Topic.CAPACITY,
        120.0,
        "Time limit of a request in seconds; a request that has not finished by then is answered with 504.",
        at_least=0.1,
        at_most=86400,
    )
    llm_max_new_tokens: int = setting(
        Topic.CAPACITY,
        1024,
        "Most tokens that a request under `/v1` may generate; `/generate` always allows up to 200.",
        at_least=1,
        at_most=1_000_000,
    )
    llm_grammar_bytes: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_bytes,
        "Largest JSON Schema, regular expression or grammar that a text can be held to, in bytes.",
        at_least=1,
        engine_field="grammar_bytes",
    )
    llm_grammar_nesting: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_nesting,
        "Schemas that a JSON Schema may have within each other.",
        at_least=1,
        at_most=100,
        engine_field="grammar_nesting",
    )
    llm_grammar_compile_s: float = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_compile_s,
        "Seconds that compiling a schema or grammar may take; one that takes longer is refused.",
        at_least=0.1,
        at_most=60,
        engine_field="grammar_compile_s",
    )
    llm_grammar_memory_mb: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_memory_mb,
        "Megabytes that compiling a schema or grammar may take; one that takes more is refused.",
        at_least=16,
        engine_field="grammar_memory_mb",
    )
    llm_grammar_states: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_states,
        "States that the lexer of a grammar may have, of 1 to 2 kB each; a request that exceeds them fails.",
        at_least=100,
        engine_field="grammar_states",
    )
    llm_grammar_cache: int = setting(
        Topic.CAPACITY,
        EngineConfig.grammar_cache,
        "Compiled schemas and grammars that a worker keeps.",
        at_least=1,
        at_most=100_000,
        engine_field="grammar_cache",
    )
    web_concurrency: int = setting(
        Topic.CAPACITY,
        EngineConfig.processes,
        "Worker processes; each loads its own copy of the model.",
        at_least=1,
        at_most=64,
        engine_field="processes",
    )

    # --- Server
    host: str = setting(
        Topic.SERVER, "127.0.0.1", "Address to listen on; `0.0.0.0` listens on all IPv4 interfaces."
    )
    port: int = setting(Topic.SERVER, 8000, "Port to listen on.", at_least=1, at_most=65535)
    max_body_bytes: int = setting(
        Topic.SERVER,
        1024 * 1024,
        "Largest accepted request body in bytes; a larger one is answered with 413.",
        at_least=1024,
    )
    debug: bool = setting(Topic.SERVER, False, "Django's debug mode. For development only.")

    # --- Database and files
    var_dir: Path = setting(
        Topic.STORAGE,
        BASE_DIR / "var",
        "Folder for what the service stores: SQLite database, secret key, accounts that wait for the "
        "database, quick-start model.",
    )
    database_url: str = setting(
        Topic.STORAGE,
        "",
        "Database: `postgres://user:password@host:port/name` or `sqlite:///file`. If unset, SQLite in "
        "`VAR_DIR`.",
        secret=True,
    )
    database_connections: int = setting(
        Topic.STORAGE,
        16,
        "PostgreSQL connections that each worker may open.",
        at_least=1,
        at_most=1000,
    )
    database_wait_s: float = setting(
        Topic.STORAGE,
        60.0,
        "How long `manage.py serve` waits for PostgreSQL at the start, in seconds.",
        at_least=0,
        at_most=3600,
    )

    # --- Keys and accounts
    api_key: str = setting(
        Topic.SECRETS,
        DEFAULT_API_KEY,
        "Secret of the first API key, which is created if the database contains no key.",
        secret=True,
    )
    django_superuser_username: str = setting(
        Topic.SECRETS, "", "Name of an admin account to create at the start if it does not exist."
    )
    django_superuser_password: str = setting(Topic.SECRETS, "", "Password of that account.", secret=True)
    django_superuser_email: str = setting(Topic.SECRETS, "", "E-mail address of that account.")
    secret_key: str = setting(
        Topic.SECRETS,
        "",
        "Django's secret key. If unset, a random key is created at the first start and stored in `VAR_DIR`.",
        secret=True,
    )
    api_key_pepper: str = setting(
        Topic.SECRETS,
        "",
        "Secret that the digests of API keys depend on; changing it invalidates every key. If unset, it is "
        "derived from `SECRET_KEY`.",
        secret=True,
    )

    # --- Limits of API keys
    llm_key_requests_per_minute: int = setting(
        Topic.LIMITS,
        0,
        "Requests per minute of a key that has no limit of its own; 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_key_burst: int = setting(
        Topic.LIMITS,
        0,
        "Requests that such a key may send at once; 0 allows a full minute's worth.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_key_tokens_per_day: int = setting(
        Topic.LIMITS,
        0,
        "Tokens (prompt and completion) that such a key may use per day (UTC); 0 is unlimited.",
        at_least=0,
    )
    llm_key_max_concurrent: int = setting(
        Topic.LIMITS,
        0,
        "Requests of such a key that may run or wait at the same time; 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_key_max_tokens: int = setting(
        Topic.LIMITS,
        0,
        "Most new tokens that a request of such a key may ask for; 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_failures_per_minute: int = setting(
        Topic.LIMITS,
        30,
        "Invalid API keys that an address may send per minute; further ones are answered with 429, while "
        "valid keys are still accepted. 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )

    # --- HTTPS and proxies
    allowed_hosts: tuple[str, ...] = setting(
        Topic.PROXY,
        (),
        "Host names under which clients reach the service. `localhost`, the loopback addresses and `HOST` "
        "are always allowed.",
    )
    https: bool = setting(
        Topic.PROXY,
        False,
        "Set it if clients reach the service by HTTPS only, through a proxy: HTTP is redirected to HTTPS, "
        "browsers remember it (HSTS), and cookies are sent over HTTPS only.",
    )
    hsts_seconds: int = setting(
        Topic.PROXY,
        3600,
        "How long browsers remember to use HTTPS only, in seconds, if `HTTPS` is set. Use 31536000 (a year) "
        "once everything works.",
        at_least=0,
        at_most=63_072_000,
    )
    trusted_proxies: tuple[str, ...] = setting(
        Topic.PROXY,
        (),
        "Addresses or networks of the proxies in front of the service. Only their `X-Forwarded-For` and "
        "`X-Forwarded-Proto` headers are trusted.",
        check_item=ipaddress.ip_network,
    )
    csrf_trusted_origins: tuple[str, ...] = setting(
        Topic.PROXY,
        (),
        "Origins such as `https://llm.example` that may post to the admin. Needed only if a proxy changes "
        "the `Host` header.",
    )
    cors_allowed_origins: tuple[str, ...] = setting(
        Topic.PROXY,
        (),
        "Origins such as `https://app.example` whose web pages may call the API from a browser (CORS). If "
        "unset, none may.",
        check_item=check_origin,
    )

    # --- Logs and metrics
    log_format: Literal["text", "json"] = setting(
        Topic.LOGS, "text", "Format of the log: `text` for people, `json` for programs."
    )
    log_prompts: bool = setting(Topic.LOGS, False, "Log prompts. They may contain private data.")
    metrics_token: str = setting(
        Topic.LOGS,
        "",
        "Bearer token that `/metrics` requires. If unset, `/metrics` answers only this machine.",
        secret=True,
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The values in `environ`, with `LLM_QUANTIZATION=int8` as a value of `LLM_DTYPE`.

        Raises:
            ImproperlyConfigured: also if the two contradict each other.
        """
        values = super().read(environ)
        if values.llm_quantization == "none":
            return values
        if values.llm_dtype not in ("auto", values.llm_quantization):
            raise ImproperlyConfigured(
                f"LLM_DTYPE={values.llm_dtype} contradicts LLM_QUANTIZATION={values.llm_quantization}: "
                "set LLM_QUANTIZATION=none, or leave LLM_DTYPE unset."
            )
        return replace(values, llm_dtype=values.llm_quantization)
