"""Django's settings. What may differ from one installation to another is in `llmservice.environment`."""

import hashlib
import hmac
import os
from datetime import timedelta

from llmservice import database, logs, openapi
from llmservice.environment import BASE_DIR, Environment
from llmservice.secret_key import kept_secret_key

ENVIRONMENT = Environment.read(os.environ)

HOST = ENVIRONMENT.host
PORT = ENVIRONMENT.port
WEB_CONCURRENCY = ENVIRONMENT.web_concurrency
VAR_DIR = ENVIRONMENT.var_dir
API_KEY = ENVIRONMENT.api_key
MAX_BODY_BYTES = ENVIRONMENT.max_body_bytes
METRICS_TOKEN = ENVIRONMENT.metrics_token
TRUSTED_PROXIES = ENVIRONMENT.trusted_proxies
LOG_FORMAT = ENVIRONMENT.log_format
LOG_PROMPTS = ENVIRONMENT.log_prompts
DJANGO_SUPERUSER_USERNAME = ENVIRONMENT.django_superuser_username
DJANGO_SUPERUSER_PASSWORD = ENVIRONMENT.django_superuser_password
DJANGO_SUPERUSER_EMAIL = ENVIRONMENT.django_superuser_email
LLM_MODEL = ENVIRONMENT.llm_model
LLM_MAX_RUNNING = ENVIRONMENT.llm_max_running
LLM_MAX_QUEUED = ENVIRONMENT.llm_max_queued
LLM_KV_CACHE_TOKENS = ENVIRONMENT.llm_kv_cache_tokens
LLM_THREADS = ENVIRONMENT.llm_threads
LLM_DEVICE = ENVIRONMENT.llm_device
LLM_QUANTIZATION = ENVIRONMENT.llm_quantization
LLM_KV_CACHE_DTYPE = ENVIRONMENT.llm_kv_cache_dtype
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
    "llmservice.proxies.TrustedProxiesMiddleware",
    "llmservice.request_log.RequestLogMiddleware",
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
HTTPS = ENVIRONMENT.https
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = ENVIRONMENT.hsts_seconds if HTTPS else 0
# Probes and Prometheus come without the proxy.
SECURE_REDIRECT_EXEMPT = ["^health$", "^ready$", "^metrics$"]
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)
# The other names under the domain, and the lists in browsers, are not this service's to decide about.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
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
DATABASES = {
    "default": database.configuration(
        ENVIRONMENT.database_url or f"sqlite:///{VAR_DIR / 'db.sqlite3'}",
        connections=ENVIRONMENT.database_connections,
        test_folder=VAR_DIR,
    )
}
DATABASE_WAIT_S = ENVIRONMENT.database_wait_s

# --- Static files: the admin's and Swagger UI's, served by the service itself. An image has collected and
# compressed them; elsewhere they are found in their packages, so that there is no collectstatic to forget.
STATIC_URL = "/static/"
STATIC_ROOT = folder if (folder := BASE_DIR / "staticfiles").is_dir() else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = DEBUG

# --- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.APIKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["llmservice.http.json_body.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "llmservice.http.json_body.AlwaysAnswer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "llmservice.http.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
SPECTACULAR_SETTINGS = openapi.SPECTACULAR_SETTINGS

LOGGING = logs.configuration(LOG_FORMAT)
