"""A set of tokens in bits is the set of them."""

from hypothesis import given
from hypothesis import strategies as st

from inference.engine.token_set import TokenSet


@given(st.data(), st.integers(1, 130))
def test_it_holds_what_a_set_of_the_tokens_holds(data: st.DataObject, size: int) -> None:
    def drawn() -> tuple[set[int], TokenSet]:
        ids = data.draw(st.sets(st.integers(0, size - 1)))
        return ids, TokenSet.of(ids, vocabulary_size=size)

    (some, of_some), (others, of_others) = drawn(), drawn()
    pairs = [(some, of_some), (some | others, of_some | of_others), (some - others, of_some - of_others)]
    for ids, tokens in pairs:
        assert tokens.ids.tolist() == sorted(ids)
        assert len(tokens) == len(ids)
        assert bool(tokens) == bool(ids)
        assert {one for one in range(size) if one in tokens} == ids
