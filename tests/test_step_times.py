"""The times of steps that are learned."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engine.step_times import Amount, StepTimes

MODEL = (0.008, 0.001, 1e-6)
WHOLE = Amount(steps=16, tokens=8192, positions=8192**2 / 2)


def real(amount: Amount) -> float:
    return MODEL[0] * amount.steps + MODEL[1] * amount.tokens + MODEL[2] * amount.positions


def chunk(number: int) -> Amount:
    start, end = 512 * number, 512 * (number + 1)
    return Amount(steps=1, tokens=512, positions=(end**2 - start**2) / 2)


def test_a_slow_first_step_tells_nothing() -> None:
    times = StepTimes()
    assert times.seconds(WHOLE) == 0
    times.observe(chunk(0), 100 * real(chunk(0)))
    assert times.seconds(WHOLE) == 0


def test_a_quarter_of_a_long_prompt_tells_of_the_rest_although_the_machine_is_busy() -> None:
    times, noise = StepTimes(), random.Random(1)  # noqa: S311
    for number in range(4):
        times.observe(chunk(number), real(chunk(number)) * noise.uniform(0.9, 1.2))
    assert times.seconds(WHOLE) == pytest.approx(real(WHOLE), rel=0.3)


def test_what_was_learned_of_prompts_lasts_while_texts_are_generated() -> None:
    times = StepTimes()
    for number in range(16):
        times.observe(chunk(number), real(chunk(number)))
    for _ in range(300):
        step = Amount(steps=1, tokens=8, positions=8 * 400)
        times.observe(step, real(step))
    assert times.seconds(WHOLE) == pytest.approx(real(WHOLE), rel=0.2)


def test_a_machine_that_becomes_slower_is_noticed() -> None:
    times = StepTimes()
    for factor in (1, 3):
        for _ in range(200):
            step = Amount(steps=1, tokens=16, positions=16 * 300)
            times.observe(step, factor * real(step))
    assert times.seconds(step) == pytest.approx(3 * real(step), rel=0.4)


amounts = st.builds(
    Amount, steps=st.just(1.0), tokens=st.floats(1, 512), positions=st.floats(0, 1e7, allow_subnormal=False)
)


@given(st.lists(st.tuples(amounts, st.floats(0, 1e3, allow_subnormal=False)), max_size=30), amounts)
def test_no_steps_make_a_time_negative_or_infinite(steps: list[tuple[Amount, float]], asked: Amount) -> None:
    times = StepTimes()
    for amount, seconds in steps:
        times.observe(amount, seconds)
    assert 0 <= times.seconds(asked) < 1e12
