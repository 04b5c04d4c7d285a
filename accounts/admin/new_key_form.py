"""The form that creates a key: that of a key, with its expiry as a choice of common lifetimes."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from accounts.admin.forms import KeyForm

LIFETIMES_DAYS = (30, 90, 365)
CUSTOM, NEVER = "custom", "never"


class NewKeyForm(KeyForm):
    """The fields of a new key. `expires_at` is read only where the choice is `CUSTOM`."""

    expiry = forms.ChoiceField(
        label="Expires",
        widget=forms.RadioSelect,
        initial=NEVER,
        error_messages=dict.fromkeys(("required", "invalid_choice"), "Choose when the key expires."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = timezone.now()
        self.fields["expiry"].choices = [  # type: ignore[attr-defined]
            *((str(days), f"In {days} days: {self._end(days):%Y-%m-%d %H:%M %Z}") for days in LIFETIMES_DAYS),
            (CUSTOM, "At another time"),
            (NEVER, "Never"),
        ]
        self.fields["expires_at"].label = "Time of expiry"
        self.fields["expires_at"].help_text = "When the key stops working."

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        choice = cleaned.get("expiry")
        if choice != CUSTOM:
            self.errors.pop("expires_at", None)  # Errors in an unused field do not matter.
            cleaned["expires_at"] = None if choice in (None, NEVER) else self._end(int(choice))
        elif cleaned.get("expires_at") is None and "expires_at" not in self.errors:
            self.add_error("expires_at", "Enter the day and the time at which the key expires.")
        return cleaned

    def _end(self, days: int) -> datetime:
        return self.now + timedelta(days=days)
