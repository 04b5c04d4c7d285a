"""The engine: one thread, one forward pass per step for all running requests (continuous batching; Yu et al.,
2022, Orca)."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
from transformers import PreTrainedTokenizerBase

from inference.engine.compute.model import LanguageModel
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    EngineError,
    GenerationFailed,
    PromptTooLong,
    Unavailable,
)
from inference.engine.request import Generation, GenerationRequest
from inference.engine.scheduler import Load, Scheduler
from inference.engine.segment import Segment
from inference.engine.sequence import Sequence
from inference.engine.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Work = list[tuple[Sequence, Segment]]


class Engine:
    """Generates text for many requests at once; every method may be called from any thread.

    Args:
        clock: seconds that only grow, for deadlines and statistics.

    Attributes:
        model_name: what clients see as the model's name.
        context_length: tokens that prompt and new tokens may have together.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: PreTrainedTokenizerBase,
        config: EngineConfig,
        *,
        eos_ids: Iterable[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model_name = model.name
        self.context_length = min(model.context_length, model.cache.tokens)
        self._model = model
        self._vocabulary = Vocabulary(tokenizer, rows=model.vocabulary_size)
        self._vocabulary.warn_of_tokens_without_embedding()
        self._config = config
        self._eos_ids = frozenset(eos_ids)
        self._clock = clock
        self._scheduler = Scheduler(config, model.cache.slots)
        self._changed = threading.Condition()
        self._closed: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def tokenize(self, prompt: str) -> tuple[int, ...]:
        """The prompt's tokens, with those that the model wants before a text."""
        return self._vocabulary.encode(prompt)

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of tokens, special ones left out."""
        return self._vocabulary.decode(tuple(token_ids))

    def submit(self, request: GenerationRequest) -> Generation:
        """Take a request in.

        Raises:
            EmptyPrompt, TokenWithoutEmbedding, PromptTooLong: it can never be generated.
            Overloaded: the queue is full.
            Unavailable: the engine takes no more.
        """
        self.check(request)
        generation = Generation(request)
        sequence = Sequence(generation, self._vocabulary, eos_ids=self._eos_ids, now=self._clock())
        with self._changed:
            if self._closed is not None:
                raise Unavailable(self._closed)
            self._scheduler.add(sequence)
            self._changed.notify_all()
        return generation

    def check(self, request: GenerationRequest) -> None:
        """Raise EmptyPrompt, TokenWithoutEmbedding or PromptTooLong if the request can never be generated."""
        if not request.prompt_ids:
            raise EmptyPrompt
        self._vocabulary.check(request.prompt_ids)
        if len(request.prompt_ids) + request.max_new_tokens > self.context_length:
            raise PromptTooLong(
                prompt_tokens=len(request.prompt_ids),
                max_new_tokens=request.max_new_tokens,
                limit=self.context_length,
            )

    @property
    def load(self) -> Load:
        """How much is in now."""
        with self._changed:
            return self._scheduler.load

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """The engine's thread runs."""
        return self._thread.is_alive()

    def drain(self) -> None:
        """Take no more requests; those that are in go on to their end."""
        self._close("The service is shutting down and takes no more requests.")

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """End the thread after its current step; what is not finished fails with `Unavailable`."""
        self.drain()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self.alive:
            self._thread.join(timeout_s)

    def step(self) -> bool:
        """End what is to end, admit what fits, compute one pass; False when there was nothing to do."""
        with self._changed:
            self._end_given_up()
            self._scheduler.admit(now=self._clock())
            work = self._plan()
        if not work:
            return False
        self._compute(work)
        with self._changed:
            self._scheduler.retire(now=self._clock())
        return True

    def _plan(self) -> Work:
        """One token for each running sequence, and a bounded number of prompt tokens."""
        running = self._scheduler.running
        work = [(s, s.next_segment(1)) for s in running if not s.prefilling]
        room = self._config.prefill_tokens_shared if work else self._config.prefill_tokens
        for sequence in running:
            if sequence.prefilling and room > 0:
                segment = sequence.next_segment(room)
                room -= len(segment.token_ids)
                work.append((sequence, segment))
        return work

    def _compute(self, work: Work) -> None:
        """Compute a pass. One that fails is done again request by request, so that only the cause fails."""
        try:
            logits = np.asarray(self._model.forward([segment for _, segment in work]))
        except Exception as error:
            logger.exception("A step of %d requests failed.", len(work))
            if len(work) == 1:
                work[0][0].fail(GenerationFailed("The model failed to compute this request."))
                if isinstance(error, MemoryError):
                    raise
                return
            for item in work:
                self._compute([item])
            return
        for (sequence, segment), row in zip(work, logits, strict=True):
            try:
                sequence.advance(segment, row, now=self._clock())
            except EngineError as error:
                sequence.fail(error)
            except Exception:
                logger.exception("Choosing the next token failed.")
                sequence.fail(GenerationFailed("The model's output for this request could not be read."))

    def _end_given_up(self) -> None:
        now = self._clock()
        for sequence in self._scheduler.all():
            if sequence.generation.cancelled:
                sequence.fail(Cancelled())
            elif sequence.deadline is not None and now >= sequence.deadline:
                sequence.fail(DeadlineExceeded())
        self._scheduler.retire(now=now)
        self._scheduler.drop_finished()

    def _run(self) -> None:
        self._model.use_threads(self._config.threads or usable_cpus())
        try:
            while not self._stopping:
                if not self.step():
                    with self._changed:
                        self._changed.wait_for(lambda: self._stopping or self._scheduler.all())
        except Exception:
            logger.exception("The engine has died.")
            self._close("The engine has stopped after an internal error.")
        finally:
            self._close("The engine has stopped.")
            with self._changed:
                for sequence in self._scheduler.all():
                    sequence.fail(Unavailable(self._closed))

    def _close(self, reason: str) -> None:
        with self._changed:
            self._closed = self._closed or reason
