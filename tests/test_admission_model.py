"""Admission and settlement, in any order, against a simple model."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from accounts.limits import admission as admissions
from accounts.limits.admission import SETTLE_TIME, Admission
from accounts.limits.gcra import microseconds
from accounts.limits.policy import Limits, NeverWithinLimit, day_of
from accounts.models import DailyUsage, Outcome
from tests.admissions import ENDS, NOON, TIMEOUT_S, admit, new_key, refused, settle
from tests.examples import examples
from tests.test_gcra import LeakyBucket

pytestmark = pytest.mark.django_db


@dataclass
class Running:
    tokens: int
    day: Any
    deadline: datetime


class KeyMachine(RuleBasedStateMachine):
    """A key with all limits, compared with the simplest model of its account: lists and sums."""

    @initialize(
        per_minute=st.sampled_from([1, 7, 60]),
        burst=st.integers(1, 8),
        tokens_per_day=st.integers(5, 60),
        max_concurrent=st.integers(1, 4),
    )
    def begin(self, per_minute: int, burst: int, tokens_per_day: int, max_concurrent: int) -> None:
        self.key = new_key(
            requests_per_minute=per_minute,
            burst=burst,
            tokens_per_day=tokens_per_day,
            max_concurrent=max_concurrent,
        )
        self.limits = Limits.of(self.key)
        self.now = NOON + timedelta(hours=11, minutes=50)
        assert self.limits.rate is not None
        self.bucket = LeakyBucket(self.limits.rate)
        self.bucket.at_us = microseconds(self.now)
        self.running: dict[int, Running] = {}
        self.lost: dict[int, Running] = {}
        self.known: list[tuple[Admission, int]] = []
        self.tokens: Counter[Any] = Counter()
        self.outcomes: Counter[Any] = Counter()

    @rule(tokens=st.integers(1, 30))
    def ask(self, tokens: int) -> None:
        assert self.limits.tokens_per_day is not None
        assert self.limits.max_concurrent is not None
        if tokens > self.limits.tokens_per_day:
            with pytest.raises(NeverWithinLimit):
                admit(self.key, tokens, self.now)
            return
        for number, request in list(self.running.items()):
            if request.deadline <= self.now:
                self.lost[number] = self.running.pop(number)
                self.outcomes[request.day, Outcome.LOST] += 1
        day = day_of(self.now)
        held = sum(request.tokens for request in self.running.values() if request.day == day)
        fits = (
            self.tokens[day] + held + tokens <= self.limits.tokens_per_day
            and len(self.running) < self.limits.max_concurrent
        )
        conforms = self.bucket.admits(microseconds(self.now))
        if conforms and not fits:  # A request that another limit refuses does not count towards the rate.
            self.bucket.level -= 1
        if not (fits and conforms):
            refused(self.key, tokens, self.now)
            self.outcomes[day, Outcome.REFUSED] += 1
            return
        admission = admit(self.key, tokens, self.now)
        deadline = self.now + timedelta(seconds=TIMEOUT_S) + SETTLE_TIME
        self.running[admission.reservation_id] = Running(tokens, day, deadline)
        self.known.append((admission, tokens))

    @rule(data=st.data(), outcome=st.sampled_from(ENDS))
    def settle(self, data: st.DataObject, outcome: Outcome) -> None:
        """Settle any request ever admitted: running, already settled, or lost."""
        if not self.known:
            return
        admission, reserved = data.draw(st.sampled_from(self.known))
        used = 0 if outcome is Outcome.OVERLOADED else data.draw(st.integers(0, reserved))
        counted = settle(admission, outcome, prompt_tokens=used // 2, completion_tokens=used - used // 2)
        number = admission.reservation_id
        assert counted == (number in self.running or number in self.lost)
        if counted:
            if (request := self.running.pop(number, None)) is None:
                request = self.lost.pop(number)
                self.outcomes[request.day, Outcome.LOST] -= 1
            self.tokens[request.day] += used
            self.outcomes[request.day, outcome] += 1

    @rule(seconds=st.integers(0, 3) | st.integers(0, 400))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @invariant()
    def the_account_equals_the_model(self) -> None:
        rows = {row.day: row for row in DailyUsage.objects.filter(key=self.key)}
        days = set(rows) | set(self.tokens) | {day for day, _ in self.outcomes}
        for day in days:
            row = rows.get(day, DailyUsage())
            assert row.tokens == self.tokens[day]
            assert {o: getattr(row, o) for o in Outcome} == {o: self.outcomes[day, o] for o in Outcome}
        ahead = [request for request in self.running.values() if request.deadline > self.now]
        held = sum(request.tokens for request in ahead if request.day == day_of(self.now))
        standing = admissions.standing_of(self.key, now=self.now)
        assert (standing.running, standing.reserved_tokens) == (len(ahead), held)
        assert standing.used_tokens == self.tokens[day_of(self.now)]


def test_admission_and_settlement_match_the_model() -> None:
    run_state_machine_as_test(
        KeyMachine, settings=settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
    )
