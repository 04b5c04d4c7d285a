from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.admin.charts import MAX_TICKS, PLOT_HEIGHT, Chart, Series, nice_ticks, stacked_columns
from accounts.templatetags.keys import compact

TODAY = date(2026, 11, 23)


def chart(*values: Sequence[int], limit: int | None = None) -> Chart:
    days = [TODAY - timedelta(days=back) for back in reversed(range(len(values[0])))]
    series = [
        Series(label=f"key {index}", colour=f"series-{index}", values=one) for index, one in enumerate(values)
    ]
    return stacked_columns(identity="t", title="Tokens", unit="tokens", days=days, series=series, limit=limit)


@given(st.integers(0, 10**15))
def test_ticks_are_few_round_numbers_from_0_to_the_highest_value(top: int) -> None:
    ticks = nice_ticks(top)
    step = ticks[1] - ticks[0]
    assert ticks == [step * index for index in range(len(ticks))]
    assert ticks[-1] >= top > ticks[-1] - step or top == 0
    assert len(ticks) <= MAX_TICKS + 1
    assert str(step).rstrip("0") in {"1", "2", "5"}


@given(st.integers(0, 10**15))
def test_a_compact_number_is_short_and_close_to_the_number(value: int) -> None:
    shown = compact(value)
    units = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    number, unit = (shown[:-1], units[shown[-1]]) if shown[-1] in units else (shown, 1)
    assert len(number) <= 4
    assert float(number) * unit == pytest.approx(value, rel=0.006)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1k"),
        (1250, "1.25k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (2.5e9, "2.5G"),
    ],
)
def test_numbers_are_shown_with_the_unit_that_fits(value: int, shown: str) -> None:
    assert compact(value) == shown


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=90))
def test_columns_are_in_order_on_the_baseline_and_inside_the_chart(values: list[tuple[int, int]]) -> None:
    drawn = chart([first for first, _ in values], [second for _, second in values])
    top = drawn.ticks[0].y
    assert top == PLOT_HEIGHT
    right = 0.0
    for column, pair in zip(drawn.columns, values, strict=True):
        assert right <= column.x + 0.01
        right = column.x + column.width
        assert right <= 100.01
        assert column.total == sum(pair)
        below = float(PLOT_HEIGHT)
        for segment in column.segments:
            assert 0 <= segment.y <= below
            assert segment.y + segment.height <= below + 0.02
            below = segment.y


def test_heights_are_proportional_to_the_values() -> None:
    first, second = chart([50, 100]).columns
    assert (first.segments[0].height, second.segments[0].height) == (PLOT_HEIGHT / 2, PLOT_HEIGHT)


def test_a_day_without_usage_has_a_tooltip_but_no_column() -> None:
    empty, full = chart([0, 10], [0, 5]).columns
    assert empty.segments == []
    assert len(full.segments) == 2
    assert empty.tooltip == "22 November 2026: 0 tokens"
    assert full.tooltip == "23 November 2026: 15 tokens\nkey 0: 10\nkey 1: 5"


@pytest.mark.parametrize("count", [1, 7, 30, 90])
def test_the_last_day_is_labelled_and_labels_are_few(count: int) -> None:
    columns = chart([1] * count).columns
    labelled = [column for column in columns if column.label]
    assert columns[-1].label == "23 Nov"
    assert not columns[-1].fine
    assert len(labelled) <= 10
    assert len([column for column in labelled if not column.fine]) <= 5


def test_a_limit_is_drawn_unless_the_columns_would_look_flat_below_it() -> None:
    near, far = chart([50, 100], limit=150), chart([50, 100], limit=100_000)
    assert near.limit is not None
    assert near.limit.label == "150"
    assert 0 <= near.limit.y < near.columns[1].segments[0].y
    assert far.limit is None
    assert chart([0, 0], limit=150).limit is None


def test_the_description_and_the_table_agree_with_the_chart() -> None:
    drawn = chart([10, 2000], [0, 500])
    assert drawn.description == (
        "Tokens from 22 November 2026 to 23 November 2026: 2,510 tokens in total, "
        "with a maximum of 2,500 on 23 November 2026."
    )
    assert drawn.rows == [(date(2026, 11, 23), (2000, 500), 2500), (date(2026, 11, 22), (10, 0), 10)]


def test_a_chart_without_values_is_empty() -> None:
    assert chart([0, 0]).is_empty
    assert not chart([0, 1]).is_empty
