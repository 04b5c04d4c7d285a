"""The geometry of a chart of stacked columns, one for each day; a template draws it as SVG.

Across, all is in per cent of the chart's width, so that it fits any window; down, in pixels, so that its
text keeps its size. Ticks stand at 1, 2 or 5 times a power of ten (Heckbert, "Nice Numbers for Graph Labels",
Graphics Gems, 1990).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from accounts.templatetags.keys import compact

PLOT_HEIGHT = 200
MAX_TICKS = 6
SEGMENT_GAP = 1
# So many labels of days find room side by side in a wide and in a narrow window.
WIDE_LABELS, NARROW_LABELS = 10, 5


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of the columns: a value for each day. `colour` is a class of the style sheet."""

    label: str
    colour: str
    values: Sequence[int]

    @property
    def total(self) -> int:
        return sum(self.values)


@dataclass(frozen=True, kw_only=True)
class Tick:
    y: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Segment:
    colour: str
    y: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Column:
    """One day: where it stands, and what a pointer on it is told. A `fine` label needs a wide window."""

    day: date
    total: int
    slot: float
    slot_width: float
    x: float
    width: float
    middle: float
    segments: Sequence[Segment]
    label: str
    fine: bool
    told: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart ready to draw; `identity` tells its parts from those of other charts on the page."""

    identity: str
    title: str
    unit: str
    series: Sequence[Series]
    columns: Sequence[Column]
    ticks: Sequence[Tick]
    limit: Tick | None
    height: int = PLOT_HEIGHT

    @property
    def is_empty(self) -> bool:
        return not any(column.total for column in self.columns)

    @property
    def description(self) -> str:
        """What the chart shows, in words, for who does not see it."""
        first, last = self.columns[0], self.columns[-1]
        highest = max(self.columns, key=lambda column: column.total)
        total = sum(column.total for column in self.columns)
        return (
            f"{self.title} from {_day(first.day)} to {_day(last.day)}: {total:,} {self.unit} in all, "
            f"the most on {_day(highest.day)} with {highest.total:,}."
        )

    @property
    def rows(self) -> Sequence[tuple[date, Sequence[int], int]]:
        """The same as a table: each day with the values of the series and their sum, the latest day first."""
        by_day = zip(*(series.values for series in self.series), strict=True)
        rows = [
            (column.day, values, column.total) for column, values in zip(self.columns, by_day, strict=True)
        ]
        return rows[::-1]


def stacked_columns(
    *,
    identity: str,
    title: str,
    unit: str,
    days: Sequence[date],
    series: Sequence[Series],
    limit: int | None = None,
) -> Chart:
    """Lay the series out over the days, the first at the bottom.

    `limit` is drawn as a line, unless it is so far above the columns that they would be flat under it.
    """
    totals = [sum(values) for values in zip(*(s.values for s in series), strict=True)]
    top = max(totals)
    shown_limit = limit if limit and limit <= 3 * top else None
    marks = nice_ticks(max(top, shown_limit or 0))
    highest = marks[-1]

    def y_of(value: float) -> float:
        return round(PLOT_HEIGHT * (1 - value / highest), 2)

    slot_width = 100 / len(days)
    width = slot_width * (0.55 if len(days) <= 10 else 0.74)
    labelled = {step: set(_labelled(len(days), step)) for step in (WIDE_LABELS, NARROW_LABELS)}
    columns = []
    for index, day in enumerate(days):
        segments, below = [], 0
        for one in series:
            if value := one.values[index]:
                # A gap to what lies below, where there is room for one.
                height = PLOT_HEIGHT * value / highest
                gap = SEGMENT_GAP if below and height > 4 * SEGMENT_GAP else 0
                below += value
                segments.append(Segment(colour=one.colour, y=y_of(below), height=round(height - gap, 2)))
        slot = index * slot_width
        columns.append(
            Column(
                day=day,
                total=totals[index],
                slot=round(slot, 3),
                slot_width=round(slot_width, 3),
                x=round(slot + (slot_width - width) / 2, 3),
                width=round(width, 3),
                middle=round(slot + slot_width / 2, 3),
                segments=segments,
                label=_short_day(day) if index in labelled[WIDE_LABELS] else "",
                fine=index not in labelled[NARROW_LABELS],
                told=_told(day, unit, totals[index], [(s.label, s.values[index]) for s in series]),
            )
        )
    return Chart(
        identity=identity,
        title=title,
        unit=unit,
        series=series,
        columns=columns,
        ticks=[Tick(y=y_of(mark), label=compact(mark)) for mark in marks],
        limit=None if shown_limit is None else Tick(y=y_of(shown_limit), label=compact(shown_limit)),
    )


def nice_ticks(top: int) -> list[int]:
    """Whole numbers from 0 to `top` or a little above, evenly apart, at most `MAX_TICKS` steps."""
    rough = max(top, 1) / MAX_TICKS
    power = 10 ** max(0, math.floor(math.log10(rough)))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    return [step * index for index in range(math.ceil(max(top, 1) / step) + 1)]


def _labelled(count: int, most: int) -> range:
    """Which of so many days are labelled: the last one, and others evenly apart."""
    # The narrow choice has to be a part of the wide one, so that hiding the rest is enough.
    step = math.ceil(count / WIDE_LABELS)
    if most != WIDE_LABELS:
        step *= 2
    return range(count - 1, -1, -step)


def _told(day: date, unit: str, total: int, parts: Sequence[tuple[str, int]]) -> str:
    lines = [f"{_day(day)}: {total:,} {unit}", *(f"{label}: {value:,}" for label, value in parts if value)]
    return "\n".join(lines)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _short_day(day: date) -> str:
    return f"{day.day} {day:%b}"
