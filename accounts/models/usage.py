"""Usage of keys: tokens, and requests by outcome, for each key and day."""

from django.db import models

from accounts.models.key import APIKey


class Outcome(models.TextChoices):
    """How a request ended; each value is the column of `DailyUsage` that counts it."""

    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    TIMED_OUT = "timed_out", "Timed out"
    # The engine's queue was full.
    OVERLOADED = "overloaded", "Overloaded"
    # A limit of the key refused it.
    REFUSED = "refused", "Refused"
    # The key may not be used for it: its state, its scopes, or the address it came from.
    FORBIDDEN = "forbidden", "Forbidden"
    # The request itself was wrong or too large.
    INVALID = "invalid", "Invalid"
    # The process was killed, so nothing reported how it ended.
    LOST = "lost", "Lost"


class DailyUsage(models.Model):
    """The usage of a key on a day (UTC), exact to the token."""

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="daily_usage")
    day = models.DateField()
    finished = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    timed_out = models.PositiveBigIntegerField(default=0)
    overloaded = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0)
    # With a default in the database, because workers of an earlier version do not write these two.
    forbidden = models.PositiveBigIntegerField(default=0, db_default=0)
    invalid = models.PositiveBigIntegerField(default=0, db_default=0)
    lost = models.PositiveBigIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name = verbose_name_plural = "usage"
        ordering = ["-day", "key_id"]
        default_permissions = ()
        permissions = [("view_usage", "Can view usage of API keys")]
        constraints = [models.UniqueConstraint(fields=["key", "day"], name="accounts_dailyusage_key_day")]
        indexes = [models.Index(fields=["day"], name="accounts_dailyusage_day")]

    def __str__(self) -> str:
        return f"key {self.key_id} on {self.day}"

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens
