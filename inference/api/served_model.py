"""The served model in the OpenAPI document, whose examples can be sent as they stand."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension

from inference import runtime
from llmservice.http.fields import StrictCharField

SERVED_MODEL = "{the served model}"
"""Stands for the model's name in examples and schemas, which are made before the settings are read."""


class ServedModelField(StrictCharField):
    """The name of the served model, in a request or an answer."""


class ServedModelSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """States that no other model is served."""

    target_class = ServedModelField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        served = {"type": "string", "const": SERVED_MODEL}
        # drf-spectacular adds null to a choice, where it would leave it out of a constant.
        return {"oneOf": [served]} if self.target.allow_null else served


def name_served_model(result: Any, **_: Any) -> Any:
    """A postprocessing hook of drf-spectacular: write the model's name wherever `SERVED_MODEL` stands."""
    return _named(result, runtime.served_name())


def _named(value: Any, name: str) -> Any:
    match value:
        case str():
            return value.replace(SERVED_MODEL, name)
        case list():
            return [_named(item, name) for item in value]
        case dict():
            return {key: _named(item, name) for key, item in value.items()}
        case _:
            return value
