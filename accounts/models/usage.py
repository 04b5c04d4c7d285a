"""Usage of keys: tokens, requests by outcome, and how long they took, for each key, day and endpoint."""

from django.db import models

from accounts.latency import Measure
from accounts.models.endpoint import LONGEST_ENDPOINT, UNKNOWN_ENDPOINT
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
    """The usage of a key on a day (UTC) at one endpoint, exact to the token.

    The columns of each `Measure` follow below.
    """

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="daily_usage")
    day = models.DateField()
    # The address, as the URLconf has it.
    endpoint = models.CharField(max_length=LONGEST_ENDPOINT, db_default=UNKNOWN_ENDPOINT)
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
        ordering = ["-day", "key_id", "endpoint"]
        default_permissions = ()
        permissions = [("view_usage", "Can view usage of API keys")]
        constraints = [
            models.UniqueConstraint(
                fields=["key", "day", "endpoint"], name="accounts_dailyusage_key_day_endpoint"
            )
        ]
        indexes = [models.Index(fields=["day"], name="accounts_dailyusage_day")]

    def __str__(self) -> str:
        return f"key {self.key_id} on {self.day} at {self.endpoint}"

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def all_requests(self) -> int:
        """The requests of all outcomes."""
        return sum(getattr(self, outcome) for outcome in Outcome.values)


class Tallied(models.Model):
    """A file of refused requests that are in the usage: whoever still finds it does not count them again."""

    file = models.CharField(max_length=80, primary_key=True)
    at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.file


for _measure in Measure:
    DailyUsage.add_to_class(_measure.sum_column, models.PositiveBigIntegerField(db_default=0))
    for _column in _measure.bucket_columns:
        DailyUsage.add_to_class(_column, models.PositiveIntegerField(db_default=0))
