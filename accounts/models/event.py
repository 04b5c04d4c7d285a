"""The events of a key: written once, never changed, never deleted."""

from typing import Any, NoReturn

from django.db import models
from django.utils import timezone

from accounts.models.key import APIKey, APIKeySecret


class EventKind(models.TextChoices):
    CREATED = "created", "Created"
    CHANGED = "changed", "Changed"
    LIMITS_CHANGED = "limits_changed", "Limits changed"
    ROTATED = "rotated", "Rotated"
    FIRST_USED = "first_used", "Secret first used"
    # Of a secret that a rotation made, while it is the key's newest.
    SUCCESSOR_USED = "successor_used", "New secret first used"
    GRACE_ENDED = "grace_ended", "Grace period ended"
    SECRET_REVOKED = "secret_revoked", "Secret revoked"
    REFUSED_EXPIRED = "refused_expired", "Refused after expiry"
    DISABLED = "disabled", "Disabled"
    ENABLED = "enabled", "Enabled"
    REVOKED = "revoked", "Revoked"


class ImmutableError(Exception):
    """Something tried to change or delete an event."""

    def __init__(self) -> None:
        super().__init__("The events of a key cannot be changed or deleted.")


class KeyEventQuerySet(models.QuerySet["KeyEvent"]):
    def update(self, **kwargs: Any) -> NoReturn:
        raise ImmutableError

    def delete(self) -> NoReturn:
        raise ImmutableError


class KeyEvent(models.Model):
    """Who did what to a key, when and from where.

    A trigger makes the database refuse changes too. On SQLite it does not refuse deletions, because deleting
    its rows is the only way to empty a table there.
    """

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="events", editable=False)
    secret = models.ForeignKey(
        APIKeySecret, on_delete=models.PROTECT, null=True, related_name="events", editable=False
    )
    kind = models.CharField(max_length=20, choices=EventKind.choices, editable=False)
    at = models.DateTimeField(default=timezone.now, editable=False)
    # Text, not a reference, so that renaming or deleting an account does not change it.
    actor = models.CharField("by", max_length=200, editable=False)
    address = models.GenericIPAddressField("from", null=True, editable=False)
    details = models.JSONField(default=dict, editable=False)

    objects = KeyEventQuerySet.as_manager()

    class Meta:
        verbose_name = "event"
        ordering = ["-at", "-pk"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["key", "-at"], name="accounts_keyevent_key_at")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} by {self.actor}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise ImmutableError
        super().save(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ImmutableError
