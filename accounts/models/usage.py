"""What keys have used and are using: the state that limits are decided on, and the daily account."""

from django.db import models

from accounts.models.key import APIKey


class Outcome(models.TextChoices):
    """How a request ended; each value is the column of `DailyUsage` that counts it."""

    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    TIMED_OUT = "timed_out", "Timed out"
    # The engine had no room for it.
    OVERLOADED = "overloaded", "Overloaded"
    # A limit of the key had no room for it.
    REFUSED = "refused", "Refused"
    # Nobody told its end: the process was killed.
    LOST = "lost", "Lost"


class KeyAllowance(models.Model):
    """The row that whoever decides on a request of the key holds locked."""

    key = models.OneToOneField(APIKey, on_delete=models.PROTECT, primary_key=True, related_name="allowance")
    # GCRA's theoretical arrival time of the next request, in microseconds since 1970.
    tat_us = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"allowance of key {self.pk}"


class Reservation(models.Model):
    """A request that is running: it holds one place of the key, and the tokens that it may come to use.

    Whoever deletes the row accounts for the request: its own process at its end or, once `deadline` has
    passed, anyone. So each is accounted for exactly once.
    """

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="reservations")
    # The day (UTC) that its tokens count for: that of its admission, also when it ends after midnight.
    day = models.DateField()
    tokens = models.PositiveBigIntegerField()
    deadline = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.tokens} tokens of key {self.key_id} until {self.deadline}"


class DailyUsage(models.Model):
    """What a key used on a day (UTC), exact to the token."""

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="daily_usage")
    day = models.DateField()
    finished = models.PositiveBigIntegerField(default=0)
    failed = models.PositiveBigIntegerField(default=0)
    cancelled = models.PositiveBigIntegerField(default=0)
    timed_out = models.PositiveBigIntegerField(default=0)
    overloaded = models.PositiveBigIntegerField(default=0)
    refused = models.PositiveBigIntegerField(default=0)
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


class AddressAllowance(models.Model):
    """How far an address has used up what it may try without a key."""

    purpose = models.CharField(max_length=20)
    address = models.CharField(max_length=43)
    # As in `KeyAllowance`; a row whose time has passed says no more than no row at all.
    tat_us = models.BigIntegerField(default=0, db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["purpose", "address"], name="accounts_addressallowance_address")
        ]

    def __str__(self) -> str:
        return f"{self.purpose} from {self.address}"
