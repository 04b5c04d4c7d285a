"""What the holder of a key can do with it over the API: look at it, rotate it, report that it has leaked."""

from datetime import timedelta

from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.events import Actor, address_of
from accounts.key_views import KeyView
from accounts.limits import admission, attempts
from accounts.limits.attempts import Purpose
from accounts.limits.policy import Limits
from accounts.models import APIKeySecret, Outcome, Scope
from accounts.serializers import (
    KeySerializer,
    NewSecretSerializer,
    RevokedSerializer,
    RevokeRequestSerializer,
    RotateRequestSerializer,
)
from llmservice.http.problem_schema import RATE_LIMIT, RETRY_AFTER, problems
from llmservice.http.views import OwnMethodsView

TAG = "Keys"
REVOKED = {"detail": "If this was a secret of this service, it no longer works."}
REPLACED = "A newer secret has replaced this one: only the newest of a key can rotate it."
EXAMPLE_SECRET = "llms_" + "X" * 38


class Conflict(APIException):
    """The key is in a state in which this is not to be had."""

    status_code = 409


class OwnKeyView(KeyView):
    """The key that asks."""

    scope = Scope.USAGE

    @extend_schema(
        operation_id="key",
        tags=[TAG],
        summary="What may my key do, and what is left?",
        description="The key that asks: its state, its limits, what is left of them, and what it used today.",
        parameters=[RETRY_AFTER, *RATE_LIMIT],
        responses={
            200: OpenApiResponse(
                KeySerializer,
                description="The key.",
                examples=[
                    OpenApiExample(
                        "A key with limits",
                        {
                            "name": "help centre",
                            "state": "active",
                            "secret": "llms_0aB1cD…",
                            "secret_expires_at": None,
                            "created_at": "2026-11-23T08:00:00Z",
                            "expires_at": None,
                            "scopes": ["generate", "usage"],
                            "allowed_networks": ["10.0.0.0/8"],
                            "limits": {
                                "requests_per_minute": 60,
                                "burst": 60,
                                "tokens_per_day": 100000,
                                "max_concurrent": None,
                            },
                            "left": {"requests": 58, "tokens": 98700, "concurrent": None},
                            "today": {
                                "day": "2026-11-23",
                                "prompt_tokens": 900,
                                "completion_tokens": 400,
                                "reserved_tokens": 0,
                                "requests": dict.fromkeys(Outcome.values, 0) | {"finished": 12},
                            },
                        },
                    )
                ],
            ),
            **problems(403, 429, 500, 503),
        },
    )
    def get(self, request: Request) -> Response:
        key, secret = self.key, request.auth
        assert isinstance(secret, APIKeySecret)  # noqa: S101
        limits, standing = Limits.of(key), admission.standing_of(key)
        today = admission.today(key, standing)
        rate = limits.rate
        return Response(
            {
                "name": key.name,
                "state": key.state_at(standing.now),
                "secret": str(secret),
                "secret_expires_at": secret.expires_at,
                "created_at": key.created_at,
                "expires_at": key.expires_at,
                "scopes": key.scopes,
                "allowed_networks": key.allowed_networks,
                "limits": {
                    "requests_per_minute": rate and rate.per_minute,
                    "burst": rate and rate.burst,
                    "tokens_per_day": limits.tokens_per_day,
                    "max_concurrent": limits.max_concurrent,
                },
                "left": {
                    "requests": rate and rate.left(standing.tat_us, now_us=standing.now_us),
                    "tokens": limits.tokens_left(standing),
                    "concurrent": limits.slots_left(standing),
                },
                "today": {
                    "day": today.day,
                    "prompt_tokens": today.prompt_tokens,
                    "completion_tokens": today.completion_tokens,
                    "reserved_tokens": standing.reserved_tokens,
                    "requests": {outcome: getattr(today, outcome) for outcome in Outcome.values},
                },
            }
        )


class RotateView(KeyView):
    """A new secret for the key that asks."""

    scope = None

    @extend_schema(
        operation_id="rotate_key",
        tags=[TAG],
        summary="Give my key a new secret",
        description=(
            "Answers with a new secret, this once; the one that was sent works on for the grace you choose, "
            "or for a day where the body is empty. "
            "Only the newest secret of a key can rotate it, and a key has two secrets at the most."
        ),
        parameters=[RETRY_AFTER, *RATE_LIMIT],
        request=OpenApiRequest(
            RotateRequestSerializer,
            examples=[OpenApiExample("An hour", {"grace_s": 3600}, request_only=True)],
        ),
        responses={
            200: OpenApiResponse(
                NewSecretSerializer,
                description="The new secret.",
                examples=[
                    OpenApiExample(
                        "A new secret",
                        {
                            "secret": EXAMPLE_SECRET,
                            "old_secret": "llms_0aB1cD…",
                            "old_secret_expires_at": "2026-11-23T09:00:00Z",
                        },
                    )
                ],
            ),
            **problems(400, 403, 409, 413, 415, 422, 429, 500, 503),
        },
    )
    def post(self, request: Request) -> Response:
        serializer = RotateRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        secret = request.auth
        assert isinstance(secret, APIKeySecret)  # noqa: S101
        # Whoever has an old secret that leaked must not get a new one with it.
        if secret.expires_at is not None:
            raise Conflict(REPLACED)
        grace = timedelta(seconds=serializer.validated_data["grace_s"])
        by = Actor.holder(secret, address=address_of(request))
        try:
            issued = services.rotate(key=self.key, grace=grace, made_with=secret, by=by)
        except services.KeyChangeError as refused:
            raise Conflict(str(refused)) from refused
        secret.refresh_from_db()
        return Response(
            {
                "secret": issued.plaintext,
                "old_secret": str(secret),
                "old_secret_expires_at": secret.expires_at,
            },
            headers={"Cache-Control": "no-store"},
        )


class RevokeView(OwnMethodsView):
    """The end of a secret that has leaked, for whoever has it."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="revoke_secret",
        tags=[TAG],
        summary="Report a leaked secret",
        description=(
            "Ends the secret at once, and with it those made with it over the API; no key is needed. "
            "The answer is the same for every text. A key whose only secret this was needs an administrator."
        ),
        parameters=[RETRY_AFTER],
        request=OpenApiRequest(
            RevokeRequestSerializer,
            examples=[OpenApiExample("A leaked secret", {"secret": EXAMPLE_SECRET}, request_only=True)],
        ),
        responses={
            200: OpenApiResponse(
                RevokedSerializer,
                description="If there was such a secret, it no longer works.",
                examples=[OpenApiExample("Done", REVOKED)],
            ),
            **problems(400, 413, 415, 422, 429, 500, 503),
        },
    )
    def post(self, request: Request) -> Response:
        serializer = RevokeRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        address = address_of(request)
        attempts.count(Purpose.REVOCATION, address)
        secret = services.find_secret(serializer.validated_data["secret"])
        if secret is not None:
            by = Actor.holder(secret, address=address)
            services.revoke_secret(secret=secret, reason="reported as leaked", by=by)
        return Response(REVOKED)
