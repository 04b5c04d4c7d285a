"""Several tokens of a text in one step: fewer steps, and the same texts to the last bit."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.config import EngineConfig
from inference.engine.drafter import Guess, NGramDrafter
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed
from inference.engine.generation import Completion, Event
from inference.engine.grammar.source import Grammar
from inference.engine.load import Work
from inference.engine.loader import load_engine
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.writer import Writer
from tests.engine_requests import request
from tests.examples import examples
from tests.models import save_tiny_model, tiny_engine

LITERAL = Grammar("regex", r"hello (world|moon)x{30}[0-9]+: the end", "regex")
SCHEMA = Grammar(
    "json_schema",
    '{"type": "object", "properties": {"name": {"enum": ["one", "two"]}, "number": {"oneOf": '
    '[{"type": "integer", "maximum": 40}, {"type": "integer", "minimum": 30}]}}, '
    '"required": ["name", "number"], "additionalProperties": false}',
    "json_schema",
)


@pytest.fixture(scope="module")
def plain() -> Iterator[Engine]:
    """An engine that computes one token of a text in each step."""
    engine = tiny_engine(
        EngineConfig(kv_cache_tokens=4096, speculation="off", prefix_cache="off"), start=False, forces=False
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def forcing() -> Iterator[Engine]:
    """An engine without guesses, but with the tokens that a grammar forces."""
    engine = tiny_engine(
        EngineConfig(kv_cache_tokens=4096, speculation="off", prefix_cache="off"), start=False
    )
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def speculative() -> Iterator[Engine]:
    """An engine as it is by default."""
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096, prefix_cache="off"), start=False)
    yield engine
    engine.stop()


Outcome = tuple[Completion, list[Event]]
COUNTED = [name for name, one in Work.__dataclass_fields__.items() if isinstance(one.default, int)]


def computed(engine: Engine, requests: list[GenerationRequest]) -> tuple[list[Outcome], Work]:
    """What each of the requests gets, run together, and what that has taken."""
    before = engine.work
    generations = [engine.submit(engine.prepare(one)) for one in requests]
    while engine.step():
        pass
    after = engine.work
    assert engine.load.kv_tokens_used == 0
    work = {name: getattr(after, name) - getattr(before, name) for name in COUNTED}
    return [(one.result(), one.events_from(0)) for one in generations], Work(**work)


FORCED: list[dict[str, Any]] = [
    {"grammar": LITERAL},
    {"grammar": LITERAL, "new": 24},
    {"grammar": LITERAL, "stop": ("xx", " the ")},
    {"grammar": LITERAL, "min_tokens": 40, "stop_token_ids": (ord("x") - 33,)},
    {"grammar": SCHEMA},
    {"grammar": LITERAL, "sampling": SamplingParams(do_sample=False, repetition_penalty=1.3)},
    {"grammar": LITERAL, "sampling": SamplingParams(seed=5, temperature=1.5, presence_penalty=1.0)},
]


@pytest.mark.parametrize("logprobs", [None, 2])
def test_tokens_that_a_grammar_forces_need_no_steps_and_change_nothing(
    plain: Engine, forcing: Engine, speculative: Engine, logprobs: int | None
) -> None:
    requests = [
        request(seed=seed, **{"new": 70, **fields}, logprobs=logprobs, prompt_logprobs=logprobs)
        if "sampling" not in fields
        else request(**{"new": 70, **fields}, logprobs=logprobs)
        for seed, fields in enumerate(FORCED)
    ]
    expected, one_by_one = computed(plain, requests)
    for engine in (forcing, speculative):
        outcomes, together = computed(engine, requests)
        assert outcomes == expected
        assert together.completion_tokens == one_by_one.completion_tokens
        assert together.segments < 0.5 * one_by_one.segments


def test_a_text_alone_has_a_step_for_each_choice_and_every_eight_forced_tokens(
    plain: Engine, forcing: Engine, speculative: Engine
) -> None:
    choice = Grammar("choice", '["one way to say it", "two ways"]', "choice")
    for engine, steps in ((plain, 17), (forcing, 2), (speculative, 2)):
        [(completion, _)], work = computed(
            engine, [request(grammar=choice, sampling=SamplingParams(logit_bias=((ord("o") - 33, 100.0),)))]
        )
        assert completion.text == "one way to say it"
        assert work.steps == steps


class Guesses:
    """Proposes what it likes: some tokens that come, learnt from the texts before, and some that do not."""

    random = random.Random(0)  # noqa: S311
    texts: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self) -> None:
        self._text: list[int] = []

    def begin(self, token_ids: Iterable[int]) -> None:
        self._text += token_ids

    def append(self, token_id: int) -> None:
        self._text.append(token_id)

    def guesses(self, most: int) -> list[Guess]:
        guesses = [self.random.randrange(257) for _ in range(most)]
        length = len(self._text)
        for text in self.texts:
            if list(text[:length]) == self._text:
                known = self.random.randrange(most + 1)
                guesses[:known] = text[length : length + known]
        drafted = guesses[: self.random.randrange(most + 1)]
        return [Guess(self.random.randrange(3), drafted)] if drafted else []


@pytest.fixture(scope="module")
def guessing() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096, prefix_cache="off"), start=False)
    engine._drafter = Guesses
    yield engine
    engine.stop()


SAMPLINGS = st.builds(
    SamplingParams,
    do_sample=st.booleans(),
    temperature=st.sampled_from([0.3, 1.0]),
    top_p=st.sampled_from([0.9, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.2]),
    presence_penalty=st.sampled_from([0.0, 0.5]),
    logit_bias=st.sampled_from([(), ((40, 5.0),)]),
    seed=st.integers(0, 3),
)
REQUESTS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(["Hello", "abcabcabcabcabc", "x" * 40]),
            "new": st.integers(1, 40),
            "sampling": SAMPLINGS,
            "stop": st.sampled_from([(), ("a", "xy")]),
            "stop_token_ids": st.sampled_from([(), tuple(range(40, 60))]),
            "min_tokens": st.sampled_from([0, 5]),
            "grammar": st.sampled_from([None, None, LITERAL, SCHEMA]),
            "logprobs": st.sampled_from([None, 1]),
            "prompt_logprobs": st.sampled_from([None, 1]),
        }
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=examples(25), deadline=None)
@given(asked=REQUESTS)
def test_any_guesses_leave_every_text_as_it_is(
    plain: Engine, speculative: Engine, guessing: Engine, asked: list[dict[str, Any]]
) -> None:
    requests = [request(**fields) for fields in asked]
    expected, _ = computed(plain, requests)
    prompts = [plain.prepare(one).prompt_ids for one in requests]
    Guesses.texts = [
        (*prompt, *completion.token_ids) for prompt, (completion, _) in zip(prompts, expected, strict=True)
    ]
    for engine in (guessing, speculative):
        outcomes, _ = computed(engine, requests)
        assert outcomes == expected


def test_a_text_that_repeats_takes_fewer_steps(plain: Engine, speculative: Engine) -> None:
    repeating = SamplingParams(do_sample=False, logit_bias=((40, 100.0),))
    greedy = request("abcd" * 5, new=150, sampling=repeating)
    expected, one_by_one = computed(plain, [greedy])
    outcomes, together = computed(speculative, [greedy])
    assert outcomes == expected
    assert together.steps < 0.6 * one_by_one.steps
    assert one_by_one.steps - together.steps == together.accepted <= together.drafted


def test_beside_many_others_nothing_is_drafted(speculative: Engine) -> None:
    requests = [request("abcd" * 5, new=20, seed=seed) for seed in range(12)]
    _, work = computed(speculative, requests)
    assert work.drafted == 0


def test_once_the_others_have_ended_a_text_is_drafted_from_all_that_came(
    plain: Engine, speculative: Engine
) -> None:
    repeating = SamplingParams(do_sample=False, logit_bias=((40, 100.0),))
    lasting = request("abcd" * 5, new=150, sampling=repeating)
    requests = [lasting, *(request(new=30, seed=seed) for seed in range(11))]
    expected, one_by_one = computed(plain, requests)
    outcomes, together = computed(speculative, requests)
    assert outcomes == expected
    assert together.accepted > 50
    assert one_by_one.steps - together.steps == together.accepted


class Learning(NGramDrafter):
    """Counts those that have learnt a prompt."""

    begun = 0

    def begin(self, token_ids: Iterable[int]) -> None:
        Learning.begun += 1
        super().begin(token_ids)


def test_requests_that_wait_or_run_beside_many_others_take_no_memory_for_guesses() -> None:
    config = EngineConfig(kv_cache_tokens=4096, max_running=12, prefix_cache="off")
    engine = tiny_engine(config, start=False)
    engine._drafter = Learning
    generations = [engine.submit(engine.prepare(request("ab" * 20, new=20, seed=i))) for i in range(24)]
    while not generations[-1].completion_tokens:
        engine.step()
    assert Learning.begun == 0


@pytest.mark.parametrize("reproducible", [True, False])
def test_nothing_is_drafted_where_a_text_could_depend_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reproducible: bool
) -> None:
    monkeypatch.setattr(
        "inference.engine.compute.probe.Probe.rows_are_independent", lambda self: reproducible
    )
    config = EngineConfig(kv_cache_tokens=512, threads=1, device="cpu")
    engine = load_engine(save_tiny_model(tmp_path), name="tiny", config=config)
    try:
        repeating = SamplingParams(do_sample=False, logit_bias=((40, 100.0),))
        engine.submit(engine.prepare(request("abcd" * 5, new=100, sampling=repeating))).result()
        assert bool(engine.work.drafted) == reproducible
    finally:
        engine.stop()


def test_guesses_take_no_blocks_from_others() -> None:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=6 * 16, prefix_cache="off"), start=False)
    requests = [request("ab" * 8, new=60, seed=seed, owner=str(seed)) for seed in range(2)]
    roomy = tiny_engine(
        EngineConfig(kv_cache_tokens=4096, speculation="off", prefix_cache="off"), start=False
    )
    expected, _ = computed(roomy, requests)
    outcomes, work = computed(engine, requests)
    assert outcomes == expected
    assert work.preemptions > 0


def test_a_forced_token_that_fails_ends_its_request_alone(
    plain: Engine, speculative: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    [expected], _ = computed(plain, [request(seed=1)])
    bad, good = (
        speculative.submit(speculative.prepare(one)) for one in (request(grammar=LITERAL), request(seed=1))
    )

    def broken(self: Writer) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(Writer, "force", broken)
    while speculative.step():
        pass
    with pytest.raises(GenerationFailed):
        bad.result()
    assert good.result() == expected[0]
