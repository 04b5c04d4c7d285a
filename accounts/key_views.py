"""What views for holders of keys share: the scope that they ask for, and the fields that tell the limits."""

from typing import Any

from django.db import DatabaseError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.limits import admission, headers
from accounts.limits.policy import Limits
from accounts.models import APIKey, Scope
from llmservice.http.views import OwnMethodsView


class HasScope(BasePermission):
    """Lets a key in that has the view's `scope`; every key, where that is None."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, KeyView)  # noqa: S101
        self.message = f"This API key may not be used for this: it lacks the scope “{view.scope}”."
        return view.scope is None or view.scope in view.key.scopes


class KeyView(OwnMethodsView):
    """A view for keys with `scope`; each of its answers tells the key's limits, also one that refuses.

    Attributes:
        key: who calls, once that is known.
    """

    scope: Scope | None
    permission_classes = [HasScope]
    key: APIKey

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        assert isinstance(request.user, APIKey)  # noqa: S101
        self.key = request.user

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        if hasattr(self, "key"):
            for name, value in _limit_fields(self.key).items():
                response.headers[name] = value
        return response


def _limit_fields(key: APIKey) -> dict[str, str]:
    limits = Limits.of(key)
    if limits.unlimited:
        return {}
    try:
        return headers.rate_limit_headers(limits, admission.standing_of(key))
    except DatabaseError:
        return {}  # The answer is worth more than its fields.
