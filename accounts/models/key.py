"""API keys: who may call the service (`APIKey`), and the secrets that prove it (`APIKeySecret`)."""

from datetime import datetime

from django.conf import settings
from django.core.validators import MaxValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast
from django.utils import timezone

from accounts import tokens

# Far more than one service can serve, and small enough for the database's integers.
MAX_LIMIT = 1_000_000
MAX_TOKENS_PER_DAY = 1_000_000_000_000


class KeyState(models.TextChoices):
    """The state of a key at a given time; if several apply, the one that is hardest to undo."""

    ACTIVE = "active", "Active"
    DISABLED = "disabled", "Disabled"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


class Scope(models.TextChoices):
    """What a key may be used for."""

    GENERATE = "generate", "Generate text"
    MODELS = "models", "List models, count tokens"
    USAGE = "usage", "See its own limits and usage"
    ROTATE = "rotate", "Rotate its own secret"


class Prompts(models.TextChoices):
    """Whether what a key sends is kept after its request."""

    DEFAULT = "default", "As the service is set up"
    KEPT = "kept", "Kept in the log"
    NEVER = "never", "Never kept, nor used for the key's next requests"


def all_scopes() -> list[str]:
    return list(Scope.values)


class APIKeyQuerySet(models.QuerySet["APIKey"]):
    def in_state(self, state: KeyState, now: datetime | None = None) -> "APIKeyQuerySet":
        """Keep the keys for which `APIKey.state_at(now)` is `state`."""
        revoked = Q(revoked_at__isnull=False)
        expired = Q(expires_at__isnull=False, expires_at__lte=now or timezone.now())
        disabled = Q(disabled_at__isnull=False)
        return self.filter(
            {
                KeyState.REVOKED: revoked,
                KeyState.EXPIRED: ~revoked & expired,
                KeyState.DISABLED: ~revoked & ~expired & disabled,
                KeyState.ACTIVE: ~revoked & ~expired & ~disabled,
            }[state]
        )

    def with_scope(self, scope: Scope) -> "APIKeyQuerySet":
        """Keep the keys that have the scope."""
        # As text: SQLite cannot look for an item of a JSON list.
        return self.alias(scopes_text=Cast("scopes", models.TextField())).filter(
            scopes_text__contains=f'"{scope}"'
        )


class APIKey(models.Model):
    """A caller of the service. Keys are revoked, never deleted, so that usage and events keep their name."""

    name = models.CharField(
        max_length=100, help_text="What the key is for. Unique among keys that are not revoked."
    )
    owner = models.CharField(
        max_length=200,
        blank=True,
        help_text="Who is responsible for the key, and how to reach them.",
    )
    note = models.TextField(blank=True, help_text="Anything worth knowing about the key.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, editable=False, related_name="+"
    )
    expires_at = models.DateTimeField(
        "expires",
        null=True,
        blank=True,
        help_text="When the key stops working. Empty: never.",
    )
    disabled_at = models.DateTimeField(null=True, editable=False)
    disabled_by = models.CharField(max_length=200, blank=True, editable=False)
    disabled_reason = models.CharField(max_length=200, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    revoked_by = models.CharField(max_length=200, blank=True, editable=False)
    revoked_reason = models.CharField(max_length=200, blank=True, editable=False)
    # Limits: null is the default from the settings, 0 is unlimited; `accounts.limits.policy` applies them.
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_LIMIT)],
        help_text="Empty: the service's default. 0: unlimited.",
    )
    burst = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_LIMIT)],
        help_text="Requests that may arrive at once. Empty: the service's default. 0: as many as per minute.",
    )
    tokens_per_day = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_TOKENS_PER_DAY)],
        help_text="Prompt and completion tokens together, from midnight to midnight UTC. "
        "Empty: the service's default. 0: unlimited.",
    )
    max_concurrent = models.PositiveIntegerField(
        "concurrent requests",
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_LIMIT)],
        help_text="Requests that may run or wait at the same time. "
        "Empty: the service's default. 0: unlimited.",
    )
    max_tokens = models.PositiveIntegerField(
        "max tokens",
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_LIMIT)],
        help_text="The most new tokens that a request may ask for. Empty: the service's default. "
        "0: unlimited.",
    )
    # Lists of strings, as `llmservice.http.networks` and `Scope` define them.
    allowed_networks = models.JSONField(
        default=list,
        blank=True,
        help_text="Addresses and networks (CIDR) from which the key may be used. Empty: all.",
    )
    scopes = models.JSONField(default=all_scopes, blank=True, help_text="What the key may be used for.")
    # The default is the database's own, because a replica of the version before may still create keys.
    prompts = models.CharField(
        max_length=10,
        choices=Prompts.choices,
        default=Prompts.DEFAULT,
        db_default=Prompts.DEFAULT,
        help_text="Whether prompts are logged and stay in the prefix cache after their request.",
    )
    # Incremented by every rotation, so that of two concurrent rotations one is refused.
    rotations = models.PositiveIntegerField(default=0, editable=False)

    objects = APIKeyQuerySet.as_manager()

    # Django REST framework's `IsAuthenticated` reads this from `request.user`.
    is_authenticated = True

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        ordering = ["-created_at", "-pk"]
        # Keys are never deleted. Permission to change a key does not include rotating or revoking it.
        default_permissions = ("add", "change", "view")
        permissions = [
            ("rotate_apikey", "Can rotate API key"),
            ("revoke_apikey", "Can revoke API key"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(revoked_at__isnull=True),
                name="accounts_apikey_name_in_use",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def state_at(self, now: datetime) -> KeyState:
        """Return the state of the key at the time `now`."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        if self.disabled_at is not None:
            return KeyState.DISABLED
        return KeyState.ACTIVE

    @property
    def state(self) -> KeyState:
        return self.state_at(timezone.now())

    @property
    def last_used_at(self) -> datetime | None:
        """When any of its secrets was last accepted, to the minute; None if never."""
        return max((s.last_used_at for s in self.secrets.all() if s.last_used_at is not None), default=None)


class APIKeySecretQuerySet(models.QuerySet["APIKeySecret"]):
    def live(self, now: datetime | None = None) -> "APIKeySecretQuerySet":
        """Keep the secrets that have not expired at `now`."""
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now or timezone.now()))


class APIKeySecret(models.Model):
    """One credential of a key. The stored digest recognises the secret but cannot reveal it."""

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="secrets")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(max_length=tokens.DISPLAY_LENGTH, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # The secret that requested this one over the API, if any. Both are revoked if that secret was stolen.
    made_with = models.ForeignKey(
        "self", on_delete=models.PROTECT, null=True, editable=False, related_name="made"
    )
    # Set when a newer secret replaces this one (to the end of the grace period) and when it is revoked.
    expires_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)
    last_used_from = models.GenericIPAddressField(null=True, editable=False)
    # When an attempt to use it after its end was last recorded.
    refused_at = models.DateTimeField(null=True, editable=False)

    objects = APIKeySecretQuerySet.as_manager()

    class Meta:
        verbose_name = "secret"
        ordering = ["-created_at", "-pk"]
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.prefix}…"

    def is_live_at(self, now: datetime) -> bool:
        return self.expires_at is None or self.expires_at > now

    @property
    def is_live(self) -> bool:
        return self.is_live_at(timezone.now())
