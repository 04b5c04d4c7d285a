"""What a text tells of its own continuation, and how far it is trusted."""

from inference.engine.drafter import NGramDrafter
from inference.engine.speculation import MOST_DRAFTED, Speculation, drafts_for_each


def drafter(*token_ids: int) -> NGramDrafter:
    made = NGramDrafter()
    made.extend(token_ids)
    return made


def test_what_followed_the_last_tokens_before_is_proposed() -> None:
    assert drafter(1, 2, 3, 4, 5, 1, 2).propose(3) == [3, 4, 5]
    assert drafter(1, 2, 3, 4, 5, 1, 2).propose(1) == [3]
    assert drafter(1, 2, 3, 4).propose(3) == []
    assert drafter().propose(3) == []


def test_the_longest_match_counts_and_of_equal_ones_the_last() -> None:
    assert drafter(9, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2).propose(1) == [5]
    assert drafter(1, 2, 5, 7, 1, 2, 6, 7, 7, 1, 2).propose(1) == [6]


def test_the_end_of_a_text_does_not_propose_itself() -> None:
    assert drafter(1, 1, 1).propose(4) == [1]
    assert drafter(1, 2, 1, 2).propose(4) == [1, 2]


def test_drafts_that_fail_become_short_and_rare_and_those_that_come_long() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    speculation = Speculation(drafter(), text * 2)
    for _ in range(20):
        speculation.learn(drafted=1, accepted=0)
    tries = [len(speculation.propose(MOST_DRAFTED)) for _ in range(48)]
    assert set(tries) == {0, 1}
    assert sum(tries[:24]) < 24
    for _ in range(20):
        speculation.learn(drafted=4, accepted=4)
    assert speculation.propose(MOST_DRAFTED) == text[:MOST_DRAFTED]


def test_the_more_texts_a_step_computes_the_fewer_tokens_each_drafts() -> None:
    drafts = [drafts_for_each(rows) for rows in range(20)]
    assert drafts[:5] == [0, 8, 7, 4, 3]
    assert not any(drafts[9:])
