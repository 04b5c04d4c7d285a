"""What limits are decided on: how much of its rate a caller has used, and which requests are running."""

from django.db import models

from accounts.models.endpoint import LONGEST_ENDPOINT, UNKNOWN_ENDPOINT
from accounts.models.key import APIKey


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

    Whoever deletes the row accounts for the request, so each is accounted for exactly once. Once `deadline`
    has passed, the row holds nothing any more, and the next decision on the key counts it as lost. It stays
    for the account that its process may still write, when the database was away for long.
    """

    key = models.ForeignKey(APIKey, on_delete=models.PROTECT, related_name="reservations")
    # The day (UTC) that its tokens count for: that of its admission, also when it ends after midnight.
    day = models.DateField()
    # With a default in the database, because workers of an earlier version do not write it.
    endpoint = models.CharField(max_length=LONGEST_ENDPOINT, db_default=UNKNOWN_ENDPOINT)
    tokens = models.PositiveBigIntegerField()
    deadline = models.DateTimeField()
    # Counted as lost.
    lost = models.BooleanField(db_default=False)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.tokens} tokens of key {self.key_id} until {self.deadline}"


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
