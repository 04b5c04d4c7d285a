"""The bodies of requests and answers."""

from typing import Any

from rest_framework import serializers

from inference.api.grammar_fields import ChoiceField, LarkField, RegexField, SchemaField, the_grammar
from inference.api.served_model import ServedModelField
from inference.api.stream_schema import EventsSerializer
from llmservice.http.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictListField,
    StrictSerializer,
)
from llmservice.http.problem_schema import ProblemSerializer

# A client that reads every number as a double (JavaScript) must be able to send a seed back, and doubles are
# exact only up to 2**53.
MAX_SEED = 2**32 - 1
MAX_STOP_STRINGS = 4
MAX_STOP_LENGTH = 64
GRAMMARS = ("json_schema", "regex", "choice", "grammar")


class GenerateRequestSerializer(StrictSerializer):
    """A prompt, and how to continue it."""

    also_known_as = {
        "max_tokens": "max_new_tokens",
        "max_length": "max_new_tokens",
        "max_completion_tokens": "max_new_tokens",
        "inputs": "prompt",
        "input": "prompt",
        "text": "prompt",
    }

    prompt = StrictCharField(
        min_length=1,
        help_text="The text to continue, white space included. "
        "Together with `max_new_tokens` it must fit the model's context.",
    )
    max_new_tokens = StrictIntegerField(
        default=50, min_value=1, max_value=200, help_text="The most tokens to generate."
    )
    temperature = StrictFloatField(
        default=0.7,
        min_value=0.1,
        max_value=2.0,
        help_text="Divides the logits before sampling: low values favour the most likely tokens, "
        "high values even them out.",
    )
    do_sample = StrictBooleanField(
        default=True,
        help_text="Sample each token by its probability; if false, always take the most likely one "
        "(greedy), and `temperature`, `top_k`, `top_p` and `seed` change nothing.",
    )
    top_k = StrictIntegerField(
        default=50,
        min_value=0,
        max_value=1000,
        help_text="Sample from this many of the most likely tokens; 0 disables it.",
    )
    top_p = StrictFloatField(
        default=1.0,
        above=0,
        max_value=1.0,
        help_text="Sample from the most likely tokens whose probabilities add up to this; 1 disables it.",
    )
    repetition_penalty = StrictFloatField(
        default=1.0,
        min_value=0.1,
        max_value=10.0,
        help_text="Above 1, tokens that occurred before become less likely; below 1, more. 1 disables it.",
    )
    seed = StrictIntegerField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=MAX_SEED,
        help_text="The same request with the same seed gives the same text. "
        "If it is null or absent, the service chooses one and returns it.",
    )
    stop = StrictListField(
        child=StrictCharField(min_length=1, max_length=MAX_STOP_LENGTH),
        default=[],
        max_length=MAX_STOP_STRINGS,
        error_messages={"not_a_list": "Must be a list of strings."},
        help_text="Generation ends where one of these strings would appear; it is not part of the answer. "
        "The text of a special token of the model, such as `<|im_start|>`, ends it at that token.",
    )
    stream = StrictBooleanField(
        default=None,
        allow_null=True,
        help_text="Answer with server-sent events: `text` with each piece as soon as it is final, then "
        "`done` with the whole answer. If it is null or absent, the header `Accept: text/event-stream` does "
        "the same.",
    )
    json_schema = SchemaField(
        default=None, allow_null=True, help_text="A JSON Schema that the text fits, which is JSON."
    )
    regex = RegexField(
        default=None, allow_null=True, help_text="A regular expression that the whole text matches."
    )
    choice = ChoiceField(default=None, allow_null=True, help_text="Texts, one of which is generated.")
    grammar = LarkField(
        default=None, allow_null=True, help_text="A grammar of the text in Lark's syntax or GBNF."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        the_grammar(fields, GRAMMARS)
        return fields


class UsageSerializer(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField(min_value=1, help_text="Tokens of the prompt.")
    completion_tokens = serializers.IntegerField(min_value=0, help_text="Tokens generated.")
    total_tokens = serializers.IntegerField(min_value=1, help_text="The sum of both.")


class GenerateResponseSerializer(serializers.Serializer[Any]):
    """The prompt, its completion, and how it was generated."""

    generated_text = serializers.CharField(help_text="The prompt as it was sent, followed by `completion`.")
    completion = serializers.CharField(
        help_text="The generated text alone, without special tokens. It may be empty."
    )
    finish_reason = serializers.ChoiceField(
        choices=["length", "stop"],
        help_text="`length`: all `max_new_tokens` were generated; "
        "`stop`: the model ended its text or wrote a stop string.",
    )
    seed = serializers.IntegerField(min_value=0, max_value=MAX_SEED, help_text="The seed that was used.")
    model = ServedModelField(help_text="The model that generated the text.")
    usage = UsageSerializer()


class TextPieceSerializer(serializers.Serializer[Any]):
    """A piece of a streamed completion."""

    text = serializers.CharField(help_text="The next piece of the completion.")


class GenerateEventsSerializer(EventsSerializer):
    """An event of a stream: a piece of the text, the whole answer at its end, or why it failed."""

    named = {"text": TextPieceSerializer, "done": GenerateResponseSerializer, "error": ProblemSerializer}


class HealthSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["ok", "error"], help_text="`error` once the engine is dead.")
    message = serializers.CharField(help_text="The status in words.")


class ReadySerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(
        choices=["ready"], help_text="Always `ready`; anything else is answered with 503."
    )
    model = ServedModelField(help_text="The model that is served.")
