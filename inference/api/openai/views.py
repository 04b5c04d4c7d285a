"""The base of the views under `/v1`: how a key comes in, and how an error goes out."""

from collections.abc import Callable
from typing import Any

from accounts.authentication import BearerAuthentication
from accounts.key_views import KeyView
from accounts.limits.policy import Limits
from accounts.models import APIKey
from inference import runtime
from inference.api.openai.errors import ModelNotFound, exception_handler
from inference.engine.backend import Backend
from llmservice.http.fields import StrictSerializer


class OpenAIView(KeyView):
    """A view for keys, with OpenAI's error objects.

    Attributes:
        prompt_fields: what the endpoint calls a prompt; errors name the one that the request has.
        limit_fields: what it calls the most tokens to generate.
    """

    authentication_classes = [BearerAuthentication]
    prompt_fields: tuple[str, ...] = ()
    limit_fields: tuple[str, ...] = ()

    def get_exception_handler(self) -> Callable[..., Any]:
        return exception_handler


def check_model(name: str, backend: Backend) -> None:
    """Refuse another model than the served one.

    Raises:
        ModelNotFound: `name` is not the served model's.
    """
    if name != backend.model_name:
        raise ModelNotFound(name, served=backend.model_name)


def validated(serializer: StrictSerializer, key: APIKey) -> tuple[dict[str, Any], Backend]:
    """The fields of a request of the key, and the backend that serves the model that it names, if any.

    Raises:
        ValidationError: a field is invalid, unknown or not supported, or more than the key may ask for.
        ModelNotFound, Unavailable: there is no such backend now.
    """
    serializer.is_valid(raise_exception=True)
    Limits.of(key).check_max_tokens(serializer.validated_data)
    backend = runtime.backend()
    if (name := serializer.validated_data["model"]) is not None:
        check_model(name, backend)
    return serializer.validated_data, backend
