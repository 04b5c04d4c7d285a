"""The base of all views that need a key: they require a scope and report the key's limits in headers."""

from typing import Any

from django.db import DatabaseError, InterfaceError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.codes import SCOPE_MISSING
from accounts.limits import admission, headers, refusals, settler
from accounts.limits.policy import LimitExceeded, Limits
from accounts.models import APIKey, Scope
from llmservice.database import return_to_pool
from llmservice.http.views import OwnMethodsView


class HasScope(BasePermission):
    """Permits keys that have the view's `scope`."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        assert isinstance(view, KeyView)  # noqa: S101
        self.code = SCOPE_MISSING.name
        self.message = f"This API key may not be used for this request: it lacks the scope “{view.scope}”."
        return view.scope in view.key.scopes


class KeyView(OwnMethodsView):
    """A view for keys with `scope`. Each of its answers reports the key's limits, refusals included.

    Attributes:
        scope: what a key needs to call it.
        key: the key that called; set by authentication.
        counts_refusals: whether requests that it refuses count against the key's limits and in its usage.
    """

    scope: Scope
    counts_refusals = False
    permission_classes = [HasScope]
    key: APIKey
    _database_failed = False

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        assert isinstance(request.user, APIKey)  # noqa: S101
        self.key = request.user

    def handle_exception(self, exc: Exception) -> Response:
        if self.counts_refusals:
            try:
                refusals.count(exc, key=getattr(self, "key", None))
            except LimitExceeded as exceeded:
                exc = exceeded
        self._database_failed = isinstance(exc, DatabaseError | InterfaceError)
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        # An answer does not wait for a database that is away.
        if hasattr(self, "key") and not self._database_failed:
            for name, value in _limit_headers(self.key).items():
                response.headers[name] = value
        if response.streaming:
            return_to_pool()  # its body takes as long as the text
        return response


def _limit_headers(key: APIKey) -> dict[str, str]:
    limits = Limits.of(key)
    if limits.unlimited or settler.behind():
        return {}
    try:
        return headers.rate_limit_headers(limits, admission.standing_of(key))
    except (DatabaseError, InterfaceError):
        return {}  # An answer without these headers is better than none.
