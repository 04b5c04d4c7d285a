"""What is asked of a backend."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from inference.engine.grammar.source import Grammar

if TYPE_CHECKING:
    from inference.engine.grammar.compiler import CompiledGrammar


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen, in the terms of transformers' `GenerationConfig`.

    Attributes:
        do_sample: draw from the distribution; otherwise take the most likely token (greedy). What other APIs
            call temperature 0 is greedy.
        temperature: divides the logits, above 0; used only when sampling, as are top_k, top_p and min_p.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the most likely tokens whose probabilities add up to this (nucleus sampling).
        min_p: keep the tokens that are at least this part as likely as the most likely one; 0 keeps all.
        repetition_penalty: above 1.0, makes tokens that have already occurred less likely.
        presence_penalty: lowers the logits of tokens that have been generated.
        frequency_penalty: the same, once for each time that the token has been generated.
        logit_bias: token ids, and what is added to their logits.
        seed: of this request's own random number generator.
    """

    do_sample: bool = True
    temperature: float = 0.7
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Chat:
    """A conversation to continue, for the model's own chat template.

    Attributes:
        messages: each with `role` and `content`, and whatever else the template reads.
        continue_final_message: the answer continues the last message, which is the assistant's.
        tools: what the model may call, each as OpenAI's API defines a tool; only for a template that knows
            them (`Backend.tool_format`).
        add_generation_prompt: what begins an answer follows the last message, unless that is continued.
    """

    messages: tuple[Mapping[str, object], ...]
    continue_final_message: bool = False
    tools: tuple[Mapping[str, object], ...] = ()
    add_generation_prompt: bool = True


Prompt = str | tuple[int, ...] | Chat
"""Text, token ids or a conversation."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A prompt to continue.

    Attributes:
        max_new_tokens: the most tokens to generate; with 0 the request ends after its prompt.
        min_tokens: nothing ends the text before it has this many tokens.
        stop: strings that end the text; the one found is not part of it.
        stop_token_ids: further tokens that end the text; the one found is not part of it.
        ignore_eos: the model's own end tokens do not end the text.
        grammar: what the text fits. Nothing ends it where it does not fit yet, and it ends where nothing may
            follow, whatever the other fields say.
        logprobs: report each new token's log-probability and this many alternatives; None reports none.
        prompt_logprobs: the same of each token of the prompt.
        streamed: the client gets the text as it comes; otherwise once it is whole.
        token_ids: the ids of the new tokens are part of the answer.
        kept: its tokens may be found in a prefix cache afterwards.
        owner: who asks; owners share a backend evenly.
        timeout_s: seconds after its submission at which the request is ended; None sets no limit.
    """

    prompt: Prompt
    sampling: SamplingParams
    max_new_tokens: int = 50
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    grammar: Grammar | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    streamed: bool = True
    token_ids: bool = False
    kept: bool = True
    owner: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class PreparedRequest:
    """A request that its backend has checked and whose prompt it has counted; made by `Backend.prepare`.

    Attributes:
        prompt_tokens: how many tokens the prompt has.
        prompt_ids: these tokens; empty if the backend leaves tokenising to another server.
        grammar: that of the request, compiled.
    """

    request: GenerationRequest
    prompt_tokens: int
    prompt_ids: tuple[int, ...] = ()
    grammar: "CompiledGrammar | None" = None

    @property
    def max_tokens(self) -> int:
        """The most tokens that prompt and completion can have together."""
        return self.prompt_tokens + self.request.max_new_tokens

    def choice(self, index: int) -> "PreparedRequest":
        """The same request for one of several texts: it draws with the seed plus `index`.

        Only the first scores the prompt.
        """
        sampling = replace(self.request.sampling, seed=self.request.sampling.seed + index)
        scores = None if index else self.request.prompt_logprobs
        return replace(self, request=replace(self.request, sampling=sampling, prompt_logprobs=scores))
