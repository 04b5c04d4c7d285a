"""The request and response bodies of the key self-service."""

from typing import Any

from rest_framework import serializers

from accounts import tokens
from accounts.models import KeyState, Outcome, Prompts, Scope
from llmservice.http.fields import StrictCharField, StrictIntegerField, StrictSerializer

DAY_S = 24 * 60 * 60
MAX_GRACE_S = 30 * DAY_S


class LimitsSerializer(serializers.Serializer[Any]):
    requests_per_minute = serializers.IntegerField(
        min_value=1, allow_null=True, help_text="Requests per minute; null is unlimited."
    )
    burst = serializers.IntegerField(
        min_value=1, allow_null=True, help_text="How many requests may arrive at once; null is unlimited."
    )
    tokens_per_day = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        help_text="Tokens of prompts and completions from midnight to midnight UTC; null is unlimited.",
    )
    max_concurrent = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        help_text="Requests that may run or wait at the same time; null is unlimited.",
    )
    max_tokens = serializers.IntegerField(
        min_value=1,
        allow_null=True,
        help_text="The most new tokens that a request may ask for; null is unlimited.",
    )


class LeftSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Requests that would be admitted now; null is unlimited."
    )
    tokens = serializers.IntegerField(
        min_value=0, allow_null=True, help_text="Tokens left today; null is unlimited."
    )
    concurrent = serializers.IntegerField(
        min_value=0,
        allow_null=True,
        help_text="Requests that may start in addition to the running ones; null is unlimited.",
    )


class EndpointUsageSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField(min_value=0, help_text="Number of requests, of all outcomes.")
    prompt_tokens = serializers.IntegerField(min_value=0, help_text="Tokens in prompts.")
    completion_tokens = serializers.IntegerField(min_value=0, help_text="Generated tokens.")


class TodaySerializer(serializers.Serializer[Any]):
    day = serializers.DateField(help_text="The day, in UTC.")
    prompt_tokens = serializers.IntegerField(min_value=0, help_text="Tokens in prompts.")
    completion_tokens = serializers.IntegerField(min_value=0, help_text="Generated tokens.")
    reserved_tokens = serializers.IntegerField(
        min_value=0,
        help_text="The most that running requests may still use; counts as used until they end.",
    )
    requests = serializers.DictField(
        child=serializers.IntegerField(min_value=0),
        help_text=f"Number of requests by outcome: {', '.join(Outcome.values)}.",
    )
    endpoints = serializers.DictField(
        child=EndpointUsageSerializer(), help_text="The same day by the address that was used."
    )


class KeySerializer(serializers.Serializer[Any]):
    """The key that sent the request, its limits and its usage."""

    name = serializers.CharField(help_text="What the key is for.")
    state = serializers.ChoiceField(
        choices=[KeyState.ACTIVE.value], help_text="Always `active`: a key in another state gets status 403."
    )
    secret = serializers.CharField(help_text="The start of the secret that was sent.")
    secret_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When the grace period of this secret ends; null if it is the newest."
    )
    created_at = serializers.DateTimeField(help_text="When the key was created.")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When the key expires; null is never.")
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values), help_text="What the key may be used for."
    )
    allowed_networks = serializers.ListField(
        child=serializers.CharField(),
        help_text="Networks (CIDR) from which the key may be used; empty is all.",
    )
    prompts = serializers.ChoiceField(
        choices=Prompts.values,
        help_text="Whether prompts are kept after their request: `kept` in the log, `never` not even in the "
        "prefix cache, `default` as the service is set up.",
    )
    limits = LimitsSerializer()
    left = LeftSerializer()
    today = TodaySerializer()


class RotateRequestSerializer(StrictSerializer):
    """How long the current secret keeps working."""

    grace_s = StrictIntegerField(
        default=DAY_S,
        min_value=0,
        max_value=MAX_GRACE_S,
        help_text="The grace period: seconds for which the current secret keeps working; 0 ends it at once.",
    )


class NewSecretSerializer(serializers.Serializer[Any]):
    """The new secret, which is shown only once."""

    secret = serializers.CharField(help_text="The new secret. It cannot be shown again.")
    old_secret = serializers.CharField(help_text="The start of the secret that was sent.")
    old_secret_expires_at = serializers.DateTimeField(help_text="When the old secret stops working.")


class RevokeRequestSerializer(StrictSerializer):
    """A secret that has leaked."""

    secret = StrictCharField(
        min_length=1, max_length=tokens.MAX_LENGTH, help_text="The complete secret that has leaked."
    )


class RevokedSerializer(serializers.Serializer[Any]):
    detail = serializers.CharField(help_text="The same text whether or not the secret exists.")
