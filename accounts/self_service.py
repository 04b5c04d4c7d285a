"""What the holder of a key can do over the API: show the key, rotate it, report a leaked secret."""

from datetime import timedelta

from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import codes, services
from accounts.events import Actor, address_of
from accounts.key_views import KeyView
from accounts.limits import admission, attempts
from accounts.limits.attempts import Purpose
from accounts.limits.policy import Limits, day_of
from accounts.models import APIKeySecret, Outcome, Scope
from accounts.secret_lookup import find_secret
from accounts.serializers import (
    KeySerializer,
    NewSecretSerializer,
    RevokedSerializer,
    RevokeRequestSerializer,
    RotateRequestSerializer,
)
from llmservice.http.problem_schema import problems
from llmservice.http.views import OwnMethodsView

TAG = "Keys"
REVOKED = {"detail": "If this was a secret of this service, it no longer works."}
REPLACED = "A newer secret has replaced this one: only the newest secret of a key can rotate it."
EXAMPLE_SECRET = "llms_" + "X" * 38


class Conflict(APIException):
    """The present state of the key does not allow the request."""

    status_code = 409
    default_code = codes.KEY_CONFLICT.name


class OwnKeyView(KeyView):
    """The key that sends the request, with its limits and usage."""

    scope = Scope.USAGE

    @extend_schema(
        operation_id="key",
        tags=[TAG],
        summary="Show my key, its limits and what is left of them",
        description=(
            "Returns the key that sent the request: its state, its limits, what is left of them, and today's "
            "usage. Needs the scope `usage`; counts towards no limit."
        ),
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
                            "scopes": ["generate", "models", "usage"],
                            "allowed_networks": ["10.0.0.0/8"],
                            "prompts": "default",
                            "limits": {
                                "requests_per_minute": 60,
                                "burst": 60,
                                "tokens_per_day": 100000,
                                "max_concurrent": None,
                                "max_tokens": 500,
                            },
                            "left": {"requests": 58, "tokens": 98700, "concurrent": None},
                            "today": {
                                "day": "2026-11-23",
                                "prompt_tokens": 900,
                                "completion_tokens": 400,
                                "reserved_tokens": 0,
                                "requests": dict.fromkeys(Outcome.values, 0) | {"finished": 12},
                                "endpoints": {
                                    "/generate": {
                                        "requests": 12,
                                        "prompt_tokens": 900,
                                        "completion_tokens": 400,
                                    }
                                },
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
        day = day_of(standing.now)
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
                "prompts": key.prompts,
                "limits": {
                    "requests_per_minute": rate and rate.per_minute,
                    "burst": rate and rate.burst,
                    "tokens_per_day": limits.tokens_per_day,
                    "max_concurrent": limits.max_concurrent,
                    "max_tokens": limits.max_tokens,
                },
                "left": {
                    "requests": rate and rate.left(standing.tat_us, now_us=standing.now_us),
                    "tokens": limits.tokens_left(standing),
                    "concurrent": limits.slots_left(standing),
                },
                "today": {
                    "day": day,
                    "prompt_tokens": sum(used.prompt_tokens for used in today),
                    "completion_tokens": sum(used.completion_tokens for used in today),
                    "reserved_tokens": standing.reserved_tokens,
                    "requests": {
                        outcome: sum(getattr(used, outcome) for used in today) for outcome in Outcome.values
                    },
                    "endpoints": {
                        used.endpoint: {
                            "requests": used.all_requests,
                            "prompt_tokens": used.prompt_tokens,
                            "completion_tokens": used.completion_tokens,
                        }
                        for used in today
                    },
                },
            }
        )


class RotateView(KeyView):
    """Adds a secret to the key that sends the request."""

    scope = Scope.ROTATE

    @extend_schema(
        operation_id="rotate_key",
        tags=[TAG],
        summary="Rotate my key",
        description=(
            "Adds a new secret to the key and returns it once. The secret that was sent keeps working for "
            "the grace period in the body; an empty body means one day. "
            "Only the newest secret of a key can rotate it, and a key has at most two live secrets. "
            "Needs the scope `rotate`."
        ),
        request=OpenApiRequest(
            RotateRequestSerializer,
            examples=[OpenApiExample("A grace period of one hour", {"grace_s": 3600}, request_only=True)],
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
        # An old secret that leaked must not be enough to get a new one.
        if secret.expires_at is not None:
            raise Conflict(REPLACED, codes.SECRET_NOT_NEWEST.name)
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
    """Revokes a leaked secret for anyone who holds it."""

    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        operation_id="revoke_secret",
        tags=[TAG],
        summary="Report a leaked secret",
        description=(
            "Revokes the secret at once, and with it every secret that was created with it by rotating over "
            "the API. No API key is needed. The answer is the same whether or not the secret exists. "
            "If a key has no live secret left, an administrator has to rotate it."
        ),
        request=OpenApiRequest(
            RevokeRequestSerializer,
            examples=[OpenApiExample("A leaked secret", {"secret": EXAMPLE_SECRET}, request_only=True)],
        ),
        responses={
            200: OpenApiResponse(
                RevokedSerializer,
                description="If the secret existed, it no longer works.",
                examples=[OpenApiExample("A report", REVOKED)],
            ),
            **problems(400, 413, 415, 422, 429, 500, 503),
        },
    )
    def post(self, request: Request) -> Response:
        serializer = RevokeRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        address = address_of(request)
        attempts.count(Purpose.REVOCATION, address)
        secret = find_secret(serializer.validated_data["secret"])
        if secret is not None:
            by = Actor.holder(secret, address=address)
            services.revoke_secret(secret=secret, reason="reported as leaked", by=by)
        return Response(REVOKED)
