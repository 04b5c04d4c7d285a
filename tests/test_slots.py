from hypothesis import given
from hypothesis import strategies as st

from inference.engine.slots import SlotPool, Slots


def test_released_slots_join_into_one_range() -> None:
    pool = SlotPool(100)
    held = [pool.allocate(20) for _ in range(5)]
    assert pool.allocate(1) is None
    for slots in (held[3], held[1], held[2]):
        assert slots
        pool.release(slots)
    assert pool.allocate(60) == Slots(20, 60)


@given(st.lists(st.integers(1, 40), max_size=60))
def test_ranges_never_overlap_and_no_slot_is_lost(sizes: list[int]) -> None:
    pool = SlotPool(128)
    held: list[Slots] = []
    for size in sizes:
        slots = pool.allocate(size)
        if slots is None:
            assert held
            pool.release(held.pop(len(held) // 2))
            continue
        assert slots.size == size
        assert all(slots.start + size <= h.start or h.start + h.size <= slots.start for h in held)
        held.append(slots)
        assert pool.free == 128 - sum(h.size for h in held)
    for slots in held:
        pool.release(slots)
    assert pool.allocate(128) == Slots(0, 128)
