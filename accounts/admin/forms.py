"""The forms of the key pages in the admin."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.utils import timezone

from accounts.models import APIKey, Scope
from llmservice.http import networks

if TYPE_CHECKING:
    KeyModelForm = forms.ModelForm[APIKey]
else:
    KeyModelForm = forms.ModelForm

GRACES = {
    "0": (timedelta(0), "Now", "The old secret stops working at once. Choose this if it has leaked."),
    "3600": (timedelta(hours=1), "1 hour", "Enough to roll out one service by hand."),
    "86400": (timedelta(hours=24), "24 hours", "Both secrets work for a day."),
    "604800": (timedelta(days=7), "7 days", "For callers that you do not operate yourself."),
}
NO_GRACE = "0"
OTHER_GRACE = "other"
LONGEST_GRACE_HOURS = 90 * 24
# The limits of a key: the setting with the default, and the meaning of 0 in it.
DEFAULT_LIMITS = {
    "requests_per_minute": ("LLM_KEY_REQUESTS_PER_MINUTE", "unlimited"),
    "burst": ("LLM_KEY_BURST", "as many as per minute"),
    "tokens_per_day": ("LLM_KEY_TOKENS_PER_DAY", "unlimited"),
    "max_concurrent": ("LLM_KEY_MAX_CONCURRENT", "unlimited"),
    "max_tokens": ("LLM_KEY_MAX_TOKENS", "unlimited"),
}


def limit_text(name: str, key: APIKey) -> str:
    """The limit that applies to the key, and whether it is the default from the settings."""
    setting, zero = DEFAULT_LIMITS[name]
    own = getattr(key, name)
    applies = getattr(settings, setting) if own is None else own
    return (f"{applies:,}" if applies else zero) + (" (the service's default)" if own is None else "")


class NetworksField(forms.CharField):
    """Edits a list of networks as text, one per line or separated by commas."""

    widget = forms.Textarea(
        attrs={"rows": 3, "placeholder": "10.0.0.0/8\n2001:db8::/32", "spellcheck": "false"}
    )

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        try:
            return networks.parse((super().to_python(value) or "").replace(",", " ").split())
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or []) != self.to_python(data))
        except forms.ValidationError:
            return True


class KeyForm(KeyModelForm):
    """The fields of a key that an administrator can edit."""

    allowed_networks = NetworksField(
        required=False,
        help_text="Addresses and networks (CIDR) from which the key may be used, one per line. Empty: all.",
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=Scope.values,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the key may be used for.",
        error_messages={"required": "Choose at least one. To stop the key, disable it."},
    )

    class Meta:
        model = APIKey
        fields = (
            *("name", "owner", "note", "expires_at", "allowed_networks", "scopes", "prompts"),
            *DEFAULT_LIMITS,
        )
        widgets = {"note": forms.Textarea(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, (setting, zero) in DEFAULT_LIMITS.items():
            if (field := self.fields.get(name)) is not None:  # Absent for accounts that may only view.
                default = getattr(settings, setting)
                field.widget.attrs["placeholder"] = f"default: {default or zero}"

    def clean_name(self) -> str:
        # A form without a field for `revoked_at` skips the model's own check of the constraint.
        name: str = self.cleaned_data["name"]
        if APIKey.objects.filter(name=name, revoked_at__isnull=True).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("Another key already has this name.")
        return name

    def clean_expires_at(self) -> datetime | None:
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        changed = expires_at != self.instance.expires_at
        if changed and expires_at is not None and expires_at <= timezone.now():
            raise forms.ValidationError("This is in the past. To stop the key now, disable it.")
        return expires_at


class ReasonForm(forms.Form):
    """The reason for an action on a key, which is stored in the key's event."""

    reason = forms.CharField(
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="Stored in the key's events.",
    )

    def __init__(self, *args: Any, required: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = required
        self.fields["reason"].error_messages["required"] = (
            "Enter a reason: this cannot be undone, and others will want to know why."
        )


class RotateForm(ReasonForm):
    """The grace period of the old secret, the reason, and the rotation count that the administrator saw.

    With `full`, the key has as many live secrets as it may have, so the only grace period offered is none.
    """

    field_order = ("grace", "hours", "reason", "rotations")

    grace = forms.ChoiceField(
        label="The current secret stops working",
        choices=[*((value, label) for value, (_, label, _) in GRACES.items()), (OTHER_GRACE, "Other")],
        initial="86400",
        widget=forms.RadioSelect,
        error_messages=dict.fromkeys(
            ("required", "invalid_choice"), "Choose when the current secret stops working."
        ),
    )
    hours = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=LONGEST_GRACE_HOURS,
        widget=forms.NumberInput(attrs={"aria-label": "Grace period in hours"}),
    )
    rotations = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, full: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.full = full

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if cleaned.get("grace") != OTHER_GRACE:
            self.errors.pop("hours", None)  # Errors in an unused field do not matter.
        elif cleaned.get("hours") is None and "hours" not in self.errors:
            self.add_error("hours", f"Enter a number of hours from 1 to {LONGEST_GRACE_HOURS}.")
        return cleaned

    @property
    def grace_period(self) -> timedelta:
        if self.cleaned_data["grace"] == OTHER_GRACE:
            return timedelta(hours=self.cleaned_data["hours"])
        return GRACES[self.cleaned_data["grace"]][0]

    def grace_options(self) -> Collection[tuple[forms.boundfield.BoundWidget, str]]:
        """Pair each radio button with a hint on when to choose it, for the template."""
        if self.full:
            return [
                (self["grace"][0], "Both live secrets stop working at once. Choose this if one has leaked.")
            ]
        hints = [
            *(hint for _, _, hint in GRACES.values()),
            f"A whole number of hours up to {LONGEST_GRACE_HOURS} ({LONGEST_GRACE_HOURS // 24} days).",
        ]
        return list(zip(self["grace"], hints, strict=True))
