"""Django's settings. What differs between installations is declared in `llmservice.environment`."""

import hashlib
import hmac
import os
from datetime import timedelta

from llmservice import cors, database, logs, openapi
from llmservice.environment import BASE_DIR, Environment
from llmservice.secret_key import load_or_create_secret_key

ENVIRONMENT = Environment.read(os.environ)

# Every setting under its variable's name; what Django wants in another form follows below. Django's error
# pages hide secrets by their names, and the name DATABASE_URL does not tell that it may contain a password.
globals().update({name: value for name, value in ENVIRONMENT.by_variable().items() if name != "DATABASE_URL"})

# Which field of the engine's configuration each of them sets: {"max_running": "LLM_MAX_RUNNING", …}.
ENGINE_SETTINGS = {
    variable.engine_field: name for name, variable in Environment.variables().items() if variable.engine_field
}

# Where the engine keeps the weights as it computes with them; None keeps none.
PACKED_WEIGHTS_DIR = ENVIRONMENT.packed_weights_dir

# --- Secrets
SECRET_KEY = ENVIRONMENT.secret_key or load_or_create_secret_key(ENVIRONMENT.var_dir / "secret_key")
API_KEY_PEPPER = (
    ENVIRONMENT.api_key_pepper
    or hmac.new(SECRET_KEY.encode(), b"llmservice.api_key_pepper", hashlib.sha256).hexdigest()
)

# --- Django
ALLOWED_HOSTS = sorted({"localhost", "127.0.0.1", "[::1]", ENVIRONMENT.host, *ENVIRONMENT.allowed_hosts})
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
    "corsheaders",
    "accounts",
    "inference",
]
MIDDLEWARE = [
    "llmservice.proxies.TrustedProxiesMiddleware",
    "llmservice.request_log.RequestLogMiddleware",
    # It answers a browser's preflight requests by itself, so those need no key.
    *(["corsheaders.middleware.CorsMiddleware"] if ENVIRONMENT.cors_allowed_origins else []),
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
DATA_UPLOAD_MAX_MEMORY_SIZE = ENVIRONMENT.max_body_bytes

# No page may be framed. Cookies are not sent to other sites and, with HTTPS, only over HTTPS. Only
# administrators have sessions, so a session lasts a working day.
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = ENVIRONMENT.https
SECURE_HSTS_SECONDS = ENVIRONMENT.hsts_seconds if ENVIRONMENT.https else 0
# Probes and Prometheus bypass the proxy.
SECURE_REDIRECT_EXEMPT = ["^health$", "^ready$", "^metrics$"]
CSRF_TRUSTED_ORIGINS = list(ENVIRONMENT.csrf_trusted_origins)
CORS_URLS_REGEX = cors.PATHS
CORS_ALLOW_METHODS = cors.METHODS
CORS_ALLOW_HEADERS = cors.REQUEST_HEADERS
CORS_EXPOSE_HEADERS = cors.ANSWER_HEADERS
# HSTS for subdomains and preloading concern the whole domain, which is not this service's to decide.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_ENGINE = "llmservice.sessions"
SESSION_COOKIE_AGE = 12 * 60 * 60
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "accounts.admin.forbidden.form_refused"

# --- Lockout after failed logins to the admin (django-axes)
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
# The combination of both: by the name alone, anyone could lock out the administrator.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_CLIENT_IP_CALLABLE = "accounts.events.address_of"
AXES_RESET_ON_SUCCESS = True
# An attempt during the lockout neither extends it nor is recorded.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "llmservice.lockout.locked_out"
# People type their password into the name field by mistake, so the name stays out of the log.
AXES_SENSITIVE_PARAMETERS = ["username"]
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False

# --- Database
DATABASES = {
    "default": database.configuration(
        ENVIRONMENT.database_url or f"sqlite:///{ENVIRONMENT.var_dir / 'db.sqlite3'}",
        connections=ENVIRONMENT.database_connections,
        test_folder=ENVIRONMENT.var_dir,
    )
}

# --- Static files of the admin and Swagger UI, served by the service itself. The container image contains
# them collected and compressed; elsewhere they are served from their packages, without collectstatic.
STATIC_URL = "/static/"
STATIC_ROOT = folder if (folder := BASE_DIR / "staticfiles").is_dir() else None
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = ENVIRONMENT.debug

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

LOGGING = logs.configuration(ENVIRONMENT.log_format)
