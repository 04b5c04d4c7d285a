import gc

import pytest

from inference.collector import paused_collector


def test_nothing_is_collected_within_and_everything_afterwards_but_what_exists_then() -> None:
    frozen = gc.get_freeze_count()
    with paused_collector():
        assert not gc.isenabled()
        kept: list[list[int]] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(kept)


def test_the_collector_goes_on_after_a_failure() -> None:
    with pytest.raises(ImportError), paused_collector():
        raise ImportError
    assert gc.isenabled()
