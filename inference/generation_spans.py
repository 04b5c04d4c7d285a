"""What a trace tells of generations: names by OpenTelemetry's conventions for generative AI, and the stages.

The texts themselves are no part of it.
"""

from collections.abc import Mapping, Sequence

from inference.engine.generation import Completion, Generation
from inference.engine.request import Chat, PreparedRequest
from llmservice.http.request_record import AttributeValue, RecordedSpan


def describe(
    span: RecordedSpan,
    *,
    prompts: Sequence[PreparedRequest],
    choices: int,
    generations: Sequence[Generation],
    model: str,
    usage: Mapping[str, int],
    cached_tokens: int,
) -> None:
    """Name the span after what was asked, and add its parameters, its usage and its stages."""
    first = prompts[0].request
    operation = "chat" if isinstance(first.prompt, Chat) else "text_completion"
    sampling = first.sampling
    attributes: dict[str, AttributeValue] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "llmservice",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "gen_ai.request.max_tokens": first.max_new_tokens,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.stream": first.streamed,
        "gen_ai.request.temperature": sampling.temperature if sampling.do_sample else 0.0,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": cached_tokens,
    }
    if choices != 1:
        attributes["gen_ai.request.choice.count"] = choices
    times = [one.first_token_s for one in generations if one.first_token_s is not None]
    if times and first.streamed:
        attributes["gen_ai.response.time_to_first_chunk"] = min(times)
    outcomes = [one.outcome for one in generations]
    if reasons := [outcome.finish_reason for outcome in outcomes if isinstance(outcome, Completion)]:
        attributes["gen_ai.response.finish_reasons"] = reasons
    span.describe(f"{operation} {model}", attributes)
    for index, generation in enumerate(generations):
        _add_stages(span, generation, index)


def _add_stages(span: RecordedSpan, generation: Generation, index: int) -> None:
    """Its wait, the computation of its prompt, and that of its text; what never began is left out."""
    ended_at = generation.ended_at
    if ended_at is None:
        return
    started_at, first_token_at = generation.started_at, generation.first_token_at
    attributes = {"llmservice.text": index}
    span.stage("queue", generation.submitted_at, ended_at if started_at is None else started_at, attributes)
    if started_at is None:
        return
    prompt = {**attributes, "llmservice.prompt_tokens": generation.computed_prompt_tokens}
    span.stage("prefill", started_at, ended_at if first_token_at is None else first_token_at, prompt)
    if first_token_at is not None:
        text = {**attributes, "llmservice.completion_tokens": generation.completion_tokens}
        span.stage("decode", first_token_at, ended_at, text)
