from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inference.engine.blocks import BLOCK, BlockPool, blocks_of


def test_tokens_take_whole_blocks() -> None:
    assert [blocks_of(tokens) for tokens in (0, 1, BLOCK, BLOCK + 1)] == [0, 1, 1, 2]


@given(st.lists(st.tuples(st.sampled_from(["take", "share", "release"]), st.integers(0, 9)), max_size=80))
def test_a_block_is_free_once_its_last_user_has_released_it(steps: list[tuple[str, int]]) -> None:
    pool = BlockPool(24)
    users: list[list[int]] = []
    for what, number in steps:
        in_use = Counter(block for blocks in users for block in blocks)
        assert pool.free == 24 - len(in_use)
        if what == "take":
            taken = pool.take(number)
            if taken is None:
                assert number > 24 - len(in_use)
            else:
                assert len(set(taken)) == number
                assert not in_use.keys() & set(taken)
                users.append(taken)
        elif users:
            blocks = users[number % len(users)]
            if what == "share":
                pool.share(blocks)
                users.append(blocks)
            else:
                users.remove(blocks)
                pool.release(blocks)
    for blocks in users:
        pool.release(blocks)
    assert sorted(pool.take(24) or []) == list(range(24))
