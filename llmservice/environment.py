"""Every environment variable that the service reads: its type, default, bounds and what it is for.

This is the one place that reads the environment. `Environment.read(os.environ)` parses all of it; the
README's table of settings is held against these fields by a test.
"""

import difflib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
DEFAULT_API_KEY = "mysecurekey123"
DEFAULT_MODEL = "openai-community/gpt2-medium"
TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    choices: tuple[str, ...] = (),
    each: Callable[[str], object] = str,
    secret: bool = False,
) -> Any:
    """Declare one variable.

    Args:
        choices: the only values of a text.
        each: raises ValueError for a part of a list that is none.
        secret: keep its value out of every repr and error message.
    """
    bounds = {"at_least": at_least, "at_most": at_most, "choices": choices, "each": each}
    metadata = {"help": help, "secret": secret, **bounds}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The service's settings as the environment gives them; a field's variable is its name in upper case.

    A variable that is set to nothing counts as not set, so that `API_KEY=${API_KEY:-}` means the default.
    """

    llm_model: str = setting(
        DEFAULT_MODEL, "The model: a name on the Hugging Face hub, or the folder of one on this machine."
    )
    host: str = setting("127.0.0.1", "The address to listen on; `0.0.0.0` is every one of this machine's.")
    port: int = setting(8000, "The port to listen on.", at_least=1, at_most=65535)
    api_key: str = setting(
        DEFAULT_API_KEY, "The secret of the first key, made when the database holds no key yet.", secret=True
    )
    database_url: str = setting(
        "",
        "The database; SQLite in `VAR_DIR` where it is not set, `postgres://…` for PostgreSQL.",
        secret=True,
    )
    var_dir: Path = setting(BASE_DIR / "var", "The folder for what is kept: database, secret key, models.")  # noqa: RUF009
    secret_key: str = setting(
        "",
        "Django's secret key; made at the first start and kept in `VAR_DIR` where it is not set.",
        secret=True,
    )
    api_key_pepper: str = setting(
        "",
        "What the digests of API keys are made with; derived from `SECRET_KEY` where it is not set. "
        "Changing it makes every key unknown.",
        secret=True,
    )
    debug: bool = setting(False, "Django's debug mode, for development alone.")
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "The host names that requests may ask for, with commas between; "
        "`localhost`, the loopback addresses and `HOST` always may.",
    )
    https: bool = setting(
        False,
        "Whether clients reach the service by https alone, through a proxy: http is then sent on to https, "
        "browsers remember it, and cookies travel over nothing else.",
    )
    hsts_seconds: int = setting(
        3600,
        "How long browsers remember that the service is reached by https alone, where `HTTPS` is set; "
        "31536000, a year, once all works.",
        at_least=0,
        at_most=63_072_000,
    )
    trusted_proxies: tuple[str, ...] = setting(
        (),
        "The addresses or networks of the proxies before the service, with commas between: what they say in "
        "`X-Forwarded-For` and `X-Forwarded-Proto` is believed.",
        each=ipaddress.ip_network,
    )
    csrf_trusted_origins: tuple[str, ...] = setting(
        (),
        "Origins as `https://llm.example` whose pages may post to the admin, with commas between; needed "
        "only where a proxy changes the `Host` header.",
    )
    log_format: str = setting(
        "text", "How the log is written: `text` for people, `json` for programs.", choices=("text", "json")
    )
    log_prompts: bool = setting(False, "Whether the log shows the prompts; they may be private.")
    metrics_token: str = setting(
        "",
        "The bearer token that `/metrics` asks for; without one, it answers this machine alone.",
        secret=True,
    )
    database_connections: int = setting(
        16, "Connections to PostgreSQL that a worker may have open at once.", at_least=1, at_most=1000
    )
    database_wait_s: float = setting(
        60.0, "Seconds that `manage.py serve` waits for the database at the start.", at_least=0, at_most=3600
    )
    django_superuser_username: str = setting(
        "", "An account for the admin that `manage.py serve` makes where there is none of that name."
    )
    django_superuser_password: str = setting("", "The password of that account.", secret=True)
    django_superuser_email: str = setting("", "The e-mail address of that account.")
    web_concurrency: int = setting(
        1, "Worker processes; each loads the model for itself.", at_least=1, at_most=64
    )
    llm_max_running: int = setting(
        16, "Requests that generate at once in a worker.", at_least=1, at_most=1024
    )
    llm_max_queued: int = setting(
        64, "Requests that may wait in a worker; one more is answered 503.", at_least=0, at_most=4096
    )
    llm_kv_cache_tokens: int = setting(
        0,
        "Tokens (prompt and answer) of all running requests together; 0 is as many as memory allows.",
        at_least=0,
    )
    llm_device: Literal["auto", "cpu", "cuda"] = setting(
        "auto",
        "What computes the model: `cpu`, `cuda`, or `auto`, which takes CUDA where PyTorch finds it and the "
        "weights are not in 8 bits.",
        choices=("auto", "cpu", "cuda"),
    )
    llm_quantization: Literal["none", "int8"] = setting(
        "none",
        "`int8` keeps the weights in 8 bits: a quarter of the memory, and faster.",
        choices=("none", "int8"),
    )
    llm_kv_cache_dtype: Literal["auto", "float32", "float16"] = setting(
        "auto",
        "In what keys and values are kept: `float32` or `float16`, half the memory; `auto` is `float16` "
        "beside weights in 8 bits.",
        choices=("auto", "float32", "float16"),
    )
    llm_threads: int = setting(
        0, "CPU threads of the engine; 0 is as many as the process may use.", at_least=0, at_most=1024
    )
    llm_request_timeout_s: float = setting(
        120.0, "Seconds until a request that has not ended is answered 504.", at_least=0.1, at_most=86400
    )
    llm_key_requests_per_minute: int = setting(
        0,
        "Requests that a key may make in a minute, where it has no limit of its own; 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_key_burst: int = setting(
        0,
        "Requests of a key that may come all at once; 0 is as many as it may make in a minute.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_key_tokens_per_day: int = setting(
        0, "Tokens (prompt and answer) that a key may use in a day (UTC); 0 is unlimited.", at_least=0
    )
    llm_key_max_concurrent: int = setting(
        0,
        "Requests of a key that may run or wait at the same time; 0 is unlimited.",
        at_least=0,
        at_most=1_000_000,
    )
    llm_failures_per_minute: int = setting(
        30,
        "Wrong keys that an address may try in a minute before it is told to wait; 0 is unlimited. "
        "A good key is let in all the same.",
        at_least=0,
        at_most=1_000_000,
    )
    max_body_bytes: int = setting(
        1024 * 1024, "The largest body of a request, in bytes; a larger one is answered 413.", at_least=1024
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The settings that `environ` holds.

        Raises ImproperlyConfigured, with one sentence that names the variable, for a value that is not of
        the variable's type or within its bounds, and for a `LLM_…` variable that does not exist.
        """
        known = {f.name.upper(): f for f in fields(cls)}
        for name in sorted(environ):
            if name.startswith("LLM_") and name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(_llm_names(known))}."
                raise ImproperlyConfigured(f"{name} is not a setting of this service: {hint}")
        given = {name: text for name in known if (text := environ.get(name, "").strip())}
        values: dict[str, Any] = {known[name].name: _parse(known[name], text) for name, text in given.items()}
        return cls(**values)


def _llm_names(known: Mapping[str, object]) -> list[str]:
    return sorted(name for name in known if name.startswith("LLM_"))


def _parse(declared: Field[Any], text: str) -> object:
    """`text` as a value of the variable's type, which is that of its default."""
    name = declared.name.upper()
    kind: type[object] = type(declared.default)
    if kind is bool:
        if text.lower() not in TRUE | FALSE:
            raise ImproperlyConfigured(f"{name} must be true or false, not {text!r}.")
        return text.lower() in TRUE
    if kind is int or kind is float:
        return _number(name, text, kind, declared.metadata["at_least"], declared.metadata["at_most"])
    if kind is tuple:
        return tuple(_part(name, part, declared) for part in map(str.strip, text.split(",")) if part)
    if isinstance(declared.default, Path):
        return Path(text).expanduser().resolve()
    choices = declared.metadata["choices"]
    if choices and text not in choices:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {text!r}.")
    return text


def _part(name: str, text: str, declared: Field[Any]) -> str:
    """One part of a list."""
    try:
        declared.metadata["each"](text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} has a part that is wrong: {error}.") from error
    return text


def _number(
    name: str, text: str, kind: type[int] | type[float], at_least: float | None, at_most: float | None
) -> float:
    what = "a whole number" if kind is int else "a number"
    match at_least, at_most:
        case None, None:
            bounds = ""
        case _, None:
            bounds = f" of at least {at_least}"
        case _:
            bounds = f" from {at_least} to {at_most}"
    try:
        number: float = kind(text)
    except ValueError:
        number = float("nan")
    # A NaN fails every comparison, so it is refused as well.
    if not ((at_least is None or number >= at_least) and (at_most is None or number <= at_most)):
        raise ImproperlyConfigured(f"{name} must be {what}{bounds}, not {text!r}.")
    return number
