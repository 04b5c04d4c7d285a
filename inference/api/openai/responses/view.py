"""`POST /v1/responses`: answer a conversation."""

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from inference.api.disconnect import result_for
from inference.api.openai.conversation import conversation_request
from inference.api.openai.errors import NotStored
from inference.api.openai.logprobs import ChatLogprobs, check_size
from inference.api.openai.responses.answer import Answer
from inference.api.openai.responses.events import ResponseEvents
from inference.api.openai.responses.events_schema import STREAM, ResponseEventsSerializer
from inference.api.openai.responses.items import Message
from inference.api.openai.responses.output import Output
from inference.api.openai.responses.request import ResponseRequestSerializer
from inference.api.openai.responses.schema import REQUESTS, RESPONSE, ResponseSerializer
from inference.api.openai.schema import errors
from inference.api.openai.tool_use import conversation, tool_use
from inference.api.openai.views import OpenAIView, validated
from inference.api.stream_schema import events
from inference.metering import Metered


class ResponsesView(OpenAIView):
    """Answers a conversation."""

    scope = Scope.GENERATE
    counts_refusals = True
    prompt_fields = ("input",)
    limit_fields = ("max_output_tokens",)

    @extend_schema(
        operation_id="create_response",
        tags=["OpenAI"],
        summary="Answer a conversation",
        description=(
            "OpenAI's Responses API, by the chat template of the model. The service stores no responses: a "
            "conversation is sent whole, with the `output` of earlier responses among the items of `input`. "
            "Fields that are unknown or not supported are an error.\n\n"
            "With `stream`, the answer is a stream of server-sent events, from `response.created` to "
            "`response.completed`, `response.incomplete` or `response.failed`."
        ),
        request=OpenApiRequest(ResponseRequestSerializer, examples=REQUESTS),
        responses={
            200: OpenApiResponse(
                ResponseSerializer,
                description="The response.",
                examples=[OpenApiExample("Response", RESPONSE)],
            ),
            **events(ResponseEventsSerializer, description="The response.", example=STREAM),
            **errors(400, 401, 403, 404, 413, 415, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        fields, backend = validated(ResponseRequestSerializer(data=request.data), self.key)
        use = tool_use(fields, backend.tool_format)
        messages = _instructed(fields["instructions"], fields["input"])
        prepared = conversation_request(
            conversation(messages, use, backend.tool_format),
            fields,
            grammar=use.grammar if use else None,
            backend=backend,
            max_new_tokens=fields["max_output_tokens"],
            logprobs=(fields["top_logprobs"] or 0) if fields["include"] else None,
            key=self.key,
        )
        check_size((prepared.request.logprobs, prepared.request.max_new_tokens), field="top_logprobs")
        metered = Metered(key=self.key, backend=backend, requests=[prepared]).admit()
        answer, output = Answer(fields=fields, backend=backend), Output(use, ChatLogprobs(backend))
        if fields["stream"]:
            return ResponseEvents(answer, output, metered).stream(request).response()
        with metered:
            [generation] = metered.generations
            completion = result_for(request, generation)
        output.complete(completion)
        return Response(answer.ended(output, metered.usage))


def _instructed(instructions: str | None, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    first = () if instructions is None else ({"role": "developer", "content": instructions},)
    return (*first, *messages)


class StoredResponseView(OpenAIView):
    """Says that no response is stored, to clients that look for one by its id."""

    scope = Scope.GENERATE

    @extend_schema(exclude=True)
    def get(self, request: Request, response_id: str) -> Response:
        raise NotStored

    @extend_schema(exclude=True)
    def delete(self, request: Request, response_id: str) -> Response:
        raise NotStored
