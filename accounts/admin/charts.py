"""The geometry of a chart of stacked columns, one for each day; a template draws it as SVG.

Horizontal positions are percentages of the chart's width, so that it fits any window. Vertical positions are
pixels, so that the text keeps its size. Ticks are 1, 2 or 5 times a power of ten apart (Heckbert, "Nice
Numbers for Graph Labels", Graphics Gems, 1990).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from accounts.templatetags.keys import compact

PLOT_HEIGHT = 200
MAX_TICKS = 6
SEGMENT_GAP = 1
# How many day labels fit side by side in a wide and in a narrow window.
WIDE_LABELS, NARROW_LABELS = 10, 5


@dataclass(frozen=True, kw_only=True)
class Series:
    """One colour of the columns, with a value for each day. `colour` is a class of the style sheet."""

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
    """One day: its position, its segments and its tooltip. A `fine` label is shown in wide windows only."""

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
    tooltip: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart ready to draw; `identity` starts the ids of its parts, which are unique on the page."""

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
        """What the chart shows, as a sentence for screen readers."""
        first, last = self.columns[0], self.columns[-1]
        highest = max(self.columns, key=lambda column: column.total)
        total = sum(column.total for column in self.columns)
        return (
            f"{self.title} from {_day(first.day)} to {_day(last.day)}: {total:,} {self.unit} in total, "
            f"with a maximum of {highest.total:,} on {_day(highest.day)}."
        )

    @property
    def rows(self) -> Sequence[tuple[date, Sequence[int], int]]:
        """The chart as a table: each day with its values and their sum, the latest day first."""
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
    """Stack the series for each day, the first series at the bottom.

    `limit` is drawn as a line, unless it is so high that the columns would look flat below it.
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
                # A gap to the segment below, if this one is high enough for it.
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
                tooltip=_tooltip(day, unit, totals[index], [(s.label, s.values[index]) for s in series]),
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
    """Evenly spaced whole numbers from 0 to `top` or a little above, in at most `MAX_TICKS` steps."""
    rough = max(top, 1) / MAX_TICKS
    power = 10 ** max(0, math.floor(math.log10(rough)))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= rough)
    return [step * index for index in range(math.ceil(max(top, 1) / step) + 1)]


def _labelled(count: int, most: int) -> range:
    """Which of `count` days are labelled: the last one, and others at even intervals."""
    # The narrow labels are a subset of the wide ones, so that the style sheet only has to hide the others.
    step = math.ceil(count / WIDE_LABELS)
    if most != WIDE_LABELS:
        step *= 2
    return range(count - 1, -1, -step)


def _tooltip(day: date, unit: str, total: int, parts: Sequence[tuple[str, int]]) -> str:
    lines = [f"{_day(day)}: {total:,} {unit}", *(f"{label}: {value:,}" for label, value in parts if value)]
    return "\n".join(lines)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _short_day(day: date) -> str:
    return f"{day.day} {day:%b}"
