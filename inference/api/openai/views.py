"""The base of the views under `/v1`: how a key comes in, and how an error goes out."""

from collections.abc import Callable
from typing import Any

from accounts.authentication import BearerAuthentication
from accounts.key_views import KeyView
from inference import runtime
from inference.api.openai.errors import ModelNotFound, exception_handler
from inference.api.openai.sampling import SamplingSerializer
from inference.engine.backend import Backend


class OpenAIView(KeyView):
    """A view for keys, with OpenAI's error objects.

    Attributes:
        prompt_field: the field of the body that has what is to be continued.
    """

    authentication_classes = [BearerAuthentication]
    prompt_field = "prompt"

    def get_exception_handler(self) -> Callable[..., Any]:
        return exception_handler


def check_model(name: str, backend: Backend) -> None:
    """Refuse another model than the served one.

    Raises:
        ModelNotFound: `name` is not the served model's.
    """
    if name != backend.model_name:
        raise ModelNotFound(name, served=backend.model_name)


def validated(serializer: SamplingSerializer) -> tuple[dict[str, Any], Backend]:
    """The fields of a request, and the backend that serves the model that it names.

    Raises:
        ValidationError: a field is invalid, unknown or not supported.
        ModelNotFound, Unavailable: there is no such backend now.
    """
    serializer.is_valid(raise_exception=True)
    backend = runtime.backend()
    check_model(serializer.validated_data["model"], backend)
    return serializer.validated_data, backend
