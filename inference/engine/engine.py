"""The local backend: one thread, and one forward pass per step for all running requests.

The method is continuous batching (Yu et al., 2022, Orca). The model is a `ForwardPass`, so nothing here needs
torch.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from inference.engine.blocks import BLOCK
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.drafter import Drafter, NGramDrafter
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineError,
    GenerationFailed,
    Interrupted,
    Unavailable,
)
from inference.engine.forward_pass import ForwardPass
from inference.engine.generation import Generation
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.masks import ReadMasks, read_masks
from inference.engine.load import Load, Work
from inference.engine.request import GenerationRequest, PreparedRequest, Prompt
from inference.engine.request_check import checked
from inference.engine.sampler import Draw, draw
from inference.engine.scheduler import Scheduler
from inference.engine.segment import Segment
from inference.engine.selection import Selection
from inference.engine.sequence import Sequence
from inference.engine.tokenizer import Tokenizer
from inference.engine.top_k import Array

logger = logging.getLogger(__name__)

Plan = list[tuple[Sequence, Segment]]


class Engine:
    """Generates text for many requests at once; every method may be called from any thread.

    Args:
        eos_ids: tokens that end a text.
        draw: draws from the distribution of a next token.
        read_masks: reads what grammars allow.
        drafter: makes what proposes the next tokens of a text, unless `config.speculation` is off.
        forces: tokens that a grammar forces share a step; a text is the same if its rows do not depend on
            others.
        weight_format, compute_path: how the model is computed, for people to read.
        clock: seconds that only increase: the one clock of every time in a request's life.

    Attributes:
        model_name: the name of the model that clients see.
        context_length: how many tokens a prompt and its completion may have together.
        fingerprint: of all that decides a text beside the request; None where the load decides it too.
        tool_format: how the model writes calls of tools; None if its chat template does not tell.
        work: what has been computed since the start.
        fault: nothing keeps a living engine from generating.
    """

    fault = ""

    def __init__(
        self,
        model: ForwardPass,
        tokenizer: Tokenizer,
        config: EngineConfig,
        *,
        eos_ids: Iterable[int] = (),
        draw: Draw = draw,
        read_masks: ReadMasks = read_masks,
        fingerprint: str | None = None,
        drafter: Callable[[], Drafter] = NGramDrafter,
        forces: bool = True,
        weight_format: str = "unknown",
        compute_path: str = "unknown",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model_name = model.name
        self.context_length = min(model.context_length, BLOCK * model.blocks.count)
        self.fingerprint = fingerprint
        self.tool_format = tokenizer.tool_format
        self.weight_format = weight_format
        self.compute_path = compute_path
        self.work = Work()
        self._model = model
        self._tokenizer = tokenizer
        self._config = config
        self._eos_ids = frozenset(eos_ids)
        self._draw = draw
        self._read_masks = read_masks
        self._drafter = drafter if config.speculation == "auto" else None
        self._grammars: GrammarCompiler | None = None
        self._grammars_lock = threading.Lock()
        self._clock = clock
        self._selection = Selection(lambda: self.grammars.masks, forces=forces, clock=clock)
        self._scheduler: Scheduler[Sequence] = Scheduler(config, model.blocks)
        self._changed = threading.Condition()
        self._closed: str | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def prepare(self, request: GenerationRequest) -> PreparedRequest:
        """Tokenise the prompt, and check that the request can be generated.

        Raises:
            EmptyPrompt, TokenWithoutEmbedding, UnknownToken, PromptTooLong, InvalidChat, InvalidGrammar: it
                can never be generated.
            Overloaded, Unavailable: its grammar cannot be compiled now.
        """
        prepared = checked(request, self._tokenizer, context_length=self.context_length)
        if request.grammar is not None:
            prepared = replace(prepared, grammar=self.grammars.compile(request.grammar, owner=request.owner))
        return prepared

    @property
    def grammars(self) -> GrammarCompiler:
        """Compiles what texts are held to; the first use takes a second or less."""
        with self._grammars_lock:
            if self._grammars is None:
                self._grammars = GrammarCompiler(
                    self._tokenizer, self._config, eos_ids=self._eos_ids, read_masks=self._read_masks
                )
            return self._grammars

    def prompt_text(self, prepared: PreparedRequest) -> str:
        """The prompt as text, without special tokens."""
        return self._tokenizer.decode(prepared.prompt_ids)

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        """The tokens of a prompt of any length; a text gets special tokens around it only if they are wanted.

        Raises:
            TokenWithoutEmbedding, InvalidChat: the model cannot compute it.
        """
        return self._tokenizer.encode(prompt, special_tokens=special_tokens)

    def is_special(self, token_id: int) -> bool:
        """Whether texts do not show the token."""
        return not self._tokenizer.decode((token_id,))

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of a token, a special one's too; none for an id that is no token."""
        return self._tokenizer.token_bytes(token_id)

    def check_room(self, owner: str, *, count: int = 1) -> None:
        """Raises Overloaded or Unavailable: so many requests of the owner would be refused now."""
        with self._changed:
            self._check_open()
            self._scheduler.check_room(owner, count=count)

    def submit(self, prepared: PreparedRequest) -> Generation:
        """Start one request, as `submit_all` does."""
        return self.submit_all([prepared])[0]

    def submit_all(self, prepared: Iterable[PreparedRequest]) -> list[Generation]:
        """Start requests that `prepare` has checked, all of one owner; all of them or none.

        Raises:
            Overloaded: the queue is full.
            Unavailable: the engine accepts no requests now.
        """
        now = self._clock()
        sequences = [
            Sequence(
                Generation(one, submitted_at=now),
                one,
                self._tokenizer,
                eos_ids=self._eos_ids,
                draw=self._draw,
                drafter=self._drafter,
            )
            for one in prepared
        ]
        with self._changed:
            self._check_open()
            self._scheduler.add(sequences, now=now)
            self._changed.notify_all()
        return [sequence.generation for sequence in sequences]

    @property
    def load(self) -> Load:
        """How busy the engine is now."""
        with self._changed:
            return self._scheduler.load

    def take_first_byte_s(self) -> tuple[float, ...]:
        """None: no other engine is asked."""
        return ()

    def start(self) -> None:
        """Start the engine's thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the engine's thread runs."""
        return self._thread.is_alive()

    def drain(self) -> None:
        """Accept no more requests; those already submitted are finished."""
        self._close("The service is shutting down and accepts no new requests.")

    def stop(self, *, timeout_s: float = 30.0) -> None:
        """End the thread after its current step; unfinished requests fail with `Interrupted`."""
        self.drain()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self.alive:
            self._thread.join(timeout_s)
        if self._grammars is not None:
            self._grammars.stop()

    def step(self) -> bool:
        """End what must end, admit what fits, and compute one pass; False if there was nothing to do."""
        with self._changed:
            self._end_overdue()
            self._scheduler.admit(now=self._clock())
            plan = self._scheduler.plan()
        if not plan:
            return False
        before, followed = _completion_tokens(plan), _accepted_drafts(plan)
        self._compute(plan)
        self.work = Work(
            steps=self.work.steps + 1,
            segments=self.work.segments + len(plan),
            completion_tokens=self.work.completion_tokens + _completion_tokens(plan) - before,
            drafted=self.work.drafted + sum(segment.drafts for _, segment in plan),
            accepted=self.work.accepted + _accepted_drafts(plan) - followed,
            preemptions=self._scheduler.preemptions,
            prefixes=self._scheduler.prefixes.work,
        )
        with self._changed:
            self._scheduler.retire(now=self._clock())
        return True

    def _compute(self, plan: Plan) -> None:
        """Compute a pass. If it fails, compute it again request by request, so that only the cause fails."""
        try:
            logits: Array = np.asarray(self._model.forward([segment for _, segment in plan]))
        except Exception as error:
            logger.exception("A step of %d requests failed.", len(plan))
            if len(plan) == 1:
                self._fail(plan[0][0], GenerationFailed("The model failed to compute this request."))
                if isinstance(error, MemoryError):
                    raise
                return
            for item in plan:
                self._compute([item])
            return
        self._selection.advance(plan, logits)

    def _end_overdue(self) -> None:
        now = self._clock()
        for sequence in self._scheduler.all():
            if sequence.generation.cancelled:
                sequence.fail(Cancelled(), now=now)
            elif sequence.deadline is not None and now >= sequence.deadline:
                sequence.fail(DeadlineExceeded(), now=now)
        self._scheduler.retire(now=now)
        self._scheduler.drop_finished()

    def _fail(self, sequence: Sequence, error: EngineError) -> None:
        sequence.fail(error, now=self._clock())

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
                    self._fail(sequence, Interrupted(self._closed))

    def _check_open(self) -> None:
        if self._closed is not None:
            raise Unavailable(self._closed)

    def _close(self, reason: str) -> None:
        with self._changed:
            self._closed = self._closed or reason


def _completion_tokens(plan: Plan) -> int:
    return sum(sequence.generation.completion_tokens for sequence, _ in plan)


def _accepted_drafts(plan: Plan) -> int:
    return sum(sequence.accepted_drafts for sequence, _ in plan)
