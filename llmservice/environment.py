"""Every setting of the service: an environment variable with its type, default, bounds and description.

A setting is declared here once; everything else follows. `Environment.read(os.environ)` parses the variables,
`llmservice.settings` publishes the values to Django, `EngineConfig` takes those that name one of its fields,
and `docs/settings.md` and the list in `docker-compose.yml` are checked against these declarations by tests.
"""

# ruff: noqa: RUF009 (`setting` makes a dataclass field)

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmservice.cors import check_origin
from llmservice.model_settings import ModelSettings
from llmservice.upstream_settings import UpstreamSettings
from llmservice.variable import Topic, setting

BASE_DIR = Path(__file__).resolve().parent.parent
DEFAULT_API_KEY = "mysecurekey123"
# Not a setting: the id of the process that has passed `preflight` and become the server.
PREFLIGHT_PASSED = "PREFLIGHT_PASSED"


@dataclass(frozen=True, kw_only=True)
class Environment(UpstreamSettings, ModelSettings):
    """The values of all settings: those of the model, of an engine behind it, and these."""

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
        "database, quick-start model, packed weights.",
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
    log_prompts: bool = setting(
        Topic.LOGS, False, "Log prompts, unless their key forbids it. They may contain private data."
    )
    metrics_token: str = setting(
        Topic.LOGS,
        "",
        "Bearer token that `/metrics` requires. If unset, `/metrics` answers only this machine.",
        secret=True,
    )

    @property
    def packed_weights_dir(self) -> Path | None:
        """The folder for packed weights and compiled models; None keeps none."""
        return self.var_dir / "weights" if self.llm_packed_weights else None
