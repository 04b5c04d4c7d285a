"""The base of the API's views: which HTTP methods they answer."""

from typing import Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.views import APIView


class OwnMethodsView(APIView):
    """Answers the methods that it has a handler for; any other is a 405 before authentication.

    OPTIONS is a 405 as well: Django REST framework would describe the view in an undocumented format.
    """

    http_method_names = [name for name in APIView.http_method_names if name != "options"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)


class OpenView(OwnMethodsView):
    """Open to everyone, and not part of the OpenAPI document."""

    authentication_classes = ()
    permission_classes = ()
    schema = None
