"""Which HTTP methods a view of the API answers."""

from typing import Any

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.views import APIView


class OwnMethodsView(APIView):
    """Answers those that it has a handler for; another is a 405 before a key is asked for: none would help.

    So is OPTIONS: Django REST framework would describe the view's inside, in a form that no document has.
    """

    http_method_names = [name for name in APIView.http_method_names if name != "options"]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method not in self.allowed_methods:
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)
