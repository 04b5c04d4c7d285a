"""Whether a request can be generated at all, from its prompt and its tokens."""

from collections.abc import Iterable

from inference.engine.errors import EmptyPrompt, PromptTooLong, UnknownToken
from inference.engine.request import GenerationRequest, PreparedRequest
from inference.engine.tokenizer import Tokenizer


def checked(request: GenerationRequest, tokenizer: Tokenizer, *, context_length: int) -> PreparedRequest:
    """The request with the tokens of its prompt; its grammar is not looked at.

    Raises:
        EmptyPrompt, TokenWithoutEmbedding, UnknownToken, PromptTooLong, InvalidChat: it can never be
            generated.
    """
    # Tokenising a megabyte takes a second.
    least_tokens = tokenizer.least_tokens(request.prompt)
    if least_tokens + request.max_new_tokens > context_length:
        raise PromptTooLong(
            prompt_tokens=least_tokens,
            max_new_tokens=request.max_new_tokens,
            limit=context_length,
            at_least=True,
        )
    biased = (token_id for token_id, _ in request.sampling.logit_bias)
    _check_token_ids("logit_bias", biased, size=tokenizer.vocabulary_size)
    _check_token_ids("stop_token_ids", request.stop_token_ids, size=tokenizer.vocabulary_size)
    prompt_ids = tokenizer.encode(request.prompt)
    if not prompt_ids:
        raise EmptyPrompt
    prepared = PreparedRequest(request=request, prompt_tokens=len(prompt_ids), prompt_ids=prompt_ids)
    if prepared.max_tokens > context_length:
        raise PromptTooLong(
            prompt_tokens=prepared.prompt_tokens,
            max_new_tokens=request.max_new_tokens,
            limit=context_length,
        )
    return prepared


def _check_token_ids(field: str, token_ids: Iterable[int], *, size: int) -> None:
    for token_id in token_ids:
        if not 0 <= token_id < size:
            raise UnknownToken(field, token_id, vocabulary_size=size)
