"""Django's settings. What may differ from one installation to another is in `llmservice.environment`."""

import hashlib
import hmac
import os
from datetime import timedelta
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from llmservice import logs, openapi
from llmservice.environment import Environment
from llmservice.secret_key import kept_secret_key

ENVIRONMENT = Environment.read(os.environ)

HOST = ENVIRONMENT.host
PORT = ENVIRONMENT.port
WEB_CONCURRENCY = ENVIRONMENT.web_concurrency
VAR_DIR = ENVIRONMENT.var_dir
API_KEY = ENVIRONMENT.api_key
MAX_BODY_BYTES = ENVIRONMENT.max_body_bytes
LLM_MODEL = ENVIRONMENT.llm_model
LLM_MAX_RUNNING = ENVIRONMENT.llm_max_running
LLM_MAX_QUEUED = ENVIRONMENT.llm_max_queued
LLM_KV_CACHE_TOKENS = ENVIRONMENT.llm_kv_cache_tokens
LLM_THREADS = ENVIRONMENT.llm_threads
LLM_REQUEST_TIMEOUT_S = ENVIRONMENT.llm_request_timeout_s
LLM_KEY_REQUESTS_PER_MINUTE = ENVIRONMENT.llm_key_requests_per_minute
LLM_KEY_BURST = ENVIRONMENT.llm_key_burst
LLM_KEY_TOKENS_PER_DAY = ENVIRONMENT.llm_key_tokens_per_day
LLM_KEY_MAX_CONCURRENT = ENVIRONMENT.llm_key_max_concurrent
LLM_FAILURES_PER_MINUTE = ENVIRONMENT.llm_failures_per_minute

# --- Secrets
SECRET_KEY = ENVIRONMENT.secret_key or kept_secret_key(VAR_DIR / "secret_key")
API_KEY_PEPPER = (
    ENVIRONMENT.api_key_pepper
    or hmac.new(SECRET_KEY.encode(), b"llmservice.api_key_pepper", hashlib.sha256).hexdigest()
)

# --- Django
DEBUG = ENVIRONMENT.debug
ALLOWED_HOSTS = sorted({"localhost", "127.0.0.1", "[::1]", HOST, *ENVIRONMENT.allowed_hosts})
INSTALLED_APPS = [
    "llmservice.apps.LLMServiceConfig",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "axes",
    "accounts",
    "inference",
]
MIDDLEWARE = [
    "llmservice.content_security.ContentSecurityPolicyMiddleware",
    "llmservice.intake.IntakeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "llmservice.urls"
WSGI_APPLICATION = "llmservice.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
DATA_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# Pages of this service are shown in no frame; cookies go to no other site and, where browsers reach the
# service by https, over nothing else. Sessions are administrators' alone, so they last a working day.
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = ENVIRONMENT.https
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_COOKIE_HTTPONLY = True

# --- Guesses at the admin's login (django-axes)
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
# Both together: by the name alone, anyone could lock the administrator out.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.events.address_of"
AXES_RESET_ON_SUCCESS = True
# What comes during the wait neither prolongs it nor is written down.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "llmservice.lockout.locked_out"
# In the place of the name people type their password by mistake: it is kept out of the log.
AXES_SENSITIVE_PARAMETERS = ["username"]
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False


# --- Database
def _database() -> dict[str, Any]:
    url = ENVIRONMENT.database_url or f"sqlite:///{VAR_DIR / 'db.sqlite3'}"
    try:
        config: dict[str, Any] = {**dj_database_url.parse(url, conn_max_age=60, conn_health_checks=True)}
    except ValueError:
        config = {"ENGINE": ""}
    match config["ENGINE"]:
        case "django.db.backends.sqlite3":
            config["OPTIONS"] = {
                **config.get("OPTIONS", {}),
                # A transaction takes its write lock at its start and waits for it; taken later, two that
                # both have read would fail at once with "database is locked".
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            }
            # A file, as in production: threads and processes share it as they do there.
            config["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
        case "django.db.backends.postgresql":
            config["OPTIONS"] = {"connect_timeout": 5, **config.get("OPTIONS", {})}
        case _:
            # Without the value: it may hold a password.
            raise ImproperlyConfigured(
                "DATABASE_URL must be sqlite:///<file> or postgres://<user>:<password>@<host>:<port>/<name>."
            )
    return config


DATABASES = {"default": _database()}

# --- Static files: the admin's and Swagger UI's, found in their packages and served by the service itself,
# so that there is no collectstatic to forget.
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# --- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.APIKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["llmservice.content.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "llmservice.content.AlwaysAnswer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "llmservice.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
SPECTACULAR_SETTINGS = openapi.SPECTACULAR_SETTINGS

LOGGING = logs.LOGGING
