"""The forms of the key pages in the admin."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django import forms
from django.utils import timezone

from accounts.models import APIKey

if TYPE_CHECKING:
    KeyModelForm = forms.ModelForm[APIKey]
else:
    KeyModelForm = forms.ModelForm

GRACES = {
    "0": (timedelta(0), "Now", "The old secret stops at once. Take this when it has leaked."),
    "3600": (timedelta(hours=1), "1 hour", "Enough to roll out one service by hand."),
    "86400": (timedelta(hours=24), "24 hours", "Both secrets work for a day."),
    "604800": (timedelta(days=7), "7 days", "For callers that you do not control yourself."),
}


class KeyForm(KeyModelForm):
    """What of a key can be written and rewritten."""

    class Meta:
        model = APIKey
        fields = ("name", "owner", "note", "expires_at")
        widgets = {"note": forms.Textarea(attrs={"rows": 3})}

    def clean_name(self) -> str:
        # The model's own check of the constraint is left out by forms that have no field for `revoked_at`.
        name: str = self.cleaned_data["name"]
        if APIKey.objects.filter(name=name, revoked_at__isnull=True).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("A key with this name is in use already.")
        return name

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        changed = expires_at != self.instance.expires_at
        if changed and expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("This is in the past. To stop a key now, disable it.")
        return expires_at


class RotateForm(forms.Form):
    """How long the old secret stays good, and the sight of the key that the administrator decided on."""

    grace = forms.ChoiceField(
        label="The present secret stops working",
        choices=[(value, label) for value, (_, label, _) in GRACES.items()],
        initial="86400",
        widget=forms.RadioSelect,
    )
    rotations = forms.IntegerField(widget=forms.HiddenInput)

    @property
    def grace_period(self) -> timedelta:
        return GRACES[self.cleaned_data["grace"]][0]

    @property
    def grace_label(self) -> str:
        return GRACES[self.cleaned_data["grace"]][1]

    def grace_options(self) -> list[tuple[forms.boundfield.BoundWidget, str]]:
        """Pair each radio button with a line on when to take it, for the template."""
        hints = [hint for _, _, hint in GRACES.values()]
        return list(zip(self["grace"], hints, strict=True))
