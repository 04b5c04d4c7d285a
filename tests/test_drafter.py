"""What a text tells of its own continuation, and how far it is trusted."""

from inference.engine.drafter import NGramDrafter
from inference.engine.speculation import MOST_DRAFTED, Speculation, drafts_for_each


def drafter(*prompt: int, answer: tuple[int, ...] = ()) -> NGramDrafter:
    made = NGramDrafter()
    made.begin(prompt)
    for token_id in answer:
        made.append(token_id)
    return made


def best(made: NGramDrafter, most: int) -> list[int]:
    guesses = made.guesses(most)
    return guesses[0].token_ids if guesses else []


def test_what_followed_the_last_tokens_before_is_proposed() -> None:
    assert best(drafter(1, 2, 3, 4, 5, 1, 2), 3) == [3, 4, 5]
    assert best(drafter(1, 2, 3, 4, 5, 1, 2), 1) == [3]
    assert best(drafter(1, 2, 3, 4, 5, 1), 2) == [2, 3]
    assert best(drafter(1, 2, 3, 4), 3) == []
    assert best(drafter(), 3) == []


def test_the_longest_match_comes_first_and_of_equal_ones_the_last() -> None:
    assert best(drafter(9, 1, 2, 5, 8, 1, 2, 6, 9, 1, 2), 1) == [5]
    assert best(drafter(1, 2, 5, 7, 1, 2, 6, 7, 7, 1, 2), 1) == [6]


def test_the_end_of_a_text_does_not_propose_itself() -> None:
    assert best(drafter(1, 1, 1), 4) == [1]
    assert best(drafter(1, 2, 1, 2), 4) == [1, 2]


def test_what_the_answer_and_what_the_prompt_tell_are_told_apart() -> None:
    guesses = drafter(1, 2, 3, 0, answer=(1, 2, 4, 1, 2)).guesses(1)
    assert [guess.token_ids for guess in guesses] == [[4], [3], [4], [3]]
    assert len({guess.evidence for guess in guesses}) == 4


def test_drafts_that_fail_become_short_and_rare_and_those_that_come_long() -> None:
    text = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    speculation = Speculation(drafter(), text * 2)
    tries = []
    for _ in range(200):
        tries.append(len(speculation.propose(MOST_DRAFTED)))
        speculation.learn(drafted=tries[-1], accepted=0)
    assert max(tries[:3]) > 1
    assert set(tries[-48:]) == {0, 1}
    assert sum(tries[-48:]) < 24
    for _ in range(200):
        proposed = speculation.propose(MOST_DRAFTED)
        assert proposed == text[: len(proposed)]
        speculation.learn(drafted=len(proposed), accepted=len(proposed))
    assert proposed == text[:MOST_DRAFTED]


def test_evidence_that_misleads_does_not_discredit_another() -> None:
    prompt, answer = [1, 2, 3, 0], (5, 1, 2, 4, 0, 5, 1, 2)
    made = drafter(*prompt, answer=answer)
    speculation = Speculation(made, ())
    proposed = speculation.propose(1)
    assert proposed == [4]
    while proposed == [4]:
        speculation.learn(drafted=1, accepted=0)
        proposed = speculation.propose(1)
    assert proposed == [3]


def test_the_more_texts_a_step_computes_the_fewer_tokens_each_drafts() -> None:
    drafts = [drafts_for_each(rows) for rows in range(20)]
    assert drafts[:5] == [0, 8, 7, 4, 3]
    assert not any(drafts[9:])
