"""The bodies of the self-service of keys."""

from typing import Any

from rest_framework import serializers

from accounts import tokens
from accounts.models import KeyState, Outcome, Scope
from llmservice.http.fields import StrictCharField, StrictIntegerField, StrictSerializer

DAY_S = 24 * 60 * 60
MAX_GRACE_S = 30 * DAY_S


class LimitsSerializer(serializers.Serializer[Any]):
    requests_per_minute = serializers.IntegerField(
        min_value=1, allow_null=True, help_text="Requests a minute; null is unlimited."
    )
    burst = serializers.IntegerField(
        min_value=1, allow_null=True, help_text="How many of them may come all at once."
    )
    tokens_per_day = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        help_text="Tokens of prompts and answers, from midnight to midnight UTC; null is unlimited.",
    )
    max_concurrent = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        help_text="Requests that may run or wait at the same time; null is unlimited.",
    )


class LeftSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Requests that may come now; null is unlimited."
    )
    tokens = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Tokens that are left of today; null is unlimited."
    )
    concurrent = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Requests that may start beside the running ones."
    )


class TodaySerializer(serializers.Serializer[Any]):
    day = serializers.DateField(help_text="The day, in UTC.")
    prompt_tokens = serializers.IntegerField(min_value=0, help_text="Tokens of prompts.")
    completion_tokens = serializers.IntegerField(min_value=0, help_text="Tokens generated.")
    reserved_tokens = serializers.IntegerField(
        min_value=0,
        help_text="What running requests may come to use at the most; it counts as used until then.",
    )
    requests = serializers.DictField(
        child=serializers.IntegerField(min_value=0),
        help_text=f"Requests by how they ended: {', '.join(Outcome.values)}.",
    )


class KeySerializer(serializers.Serializer[Any]):
    """The key that asks, and what it may do."""

    name = serializers.CharField(help_text="What the key is for.")
    state = serializers.ChoiceField(
        choices=[KeyState.ACTIVE.value], help_text="Always `active`: a key in another state is answered 403."
    )
    secret = serializers.CharField(help_text="The start of the secret that was sent.")
    secret_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="The end of its grace, where a newer secret has replaced it."
    )
    created_at = serializers.DateTimeField(help_text="When the key was made.")
    expires_at = serializers.DateTimeField(
        allow_null=True, help_text="From when on the key is refused; null is never."
    )
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values), help_text="What the key may be used for."
    )
    allowed_networks = serializers.ListField(
        child=serializers.CharField(), help_text="Where the key may be used from; empty is everywhere."
    )
    limits = LimitsSerializer()
    left = LeftSerializer()
    today = TodaySerializer()


class RotateRequestSerializer(StrictSerializer):
    """How long the present secret stays good."""

    grace_s = StrictIntegerField(
        default=DAY_S,
        min_value=0,
        max_value=MAX_GRACE_S,
        help_text="Seconds for which the present secret still works; 0 ends it at once.",
    )


class NewSecretSerializer(serializers.Serializer[Any]):
    """The new secret, which is shown this once."""

    secret = serializers.CharField(help_text="The new secret. It cannot be had again.")
    old_secret = serializers.CharField(help_text="The start of the one that was sent.")
    old_secret_expires_at = serializers.DateTimeField(help_text="Until then the old secret works as well.")


class RevokeRequestSerializer(StrictSerializer):
    """A secret that others have seen."""

    secret = StrictCharField(
        min_length=1, max_length=tokens.MAX_LENGTH, help_text="The whole secret that has leaked."
    )


class RevokedSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField(
        help_text="The same words whether the secret was one of this service or not."
    )
