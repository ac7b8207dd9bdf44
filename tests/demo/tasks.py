"""Tasks on four years of weather in Seattle, from the data set that the package `vega_datasets` brings.

Run them with `python -m lacewing.worker tests/demo/tasks.py`.
"""

from __future__ import annotations

import csv
import itertools
import time
from dataclasses import dataclass
from datetime import date
from enum import Enum
from importlib.resources import files

import lacewing


class Unit(Enum):
    """A unit of temperature."""

    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


@dataclass(frozen=True)
class Day:
    """The weather of one day."""

    date: str
    precipitation: float
    temp_max: float
    temp_min: float
    wind: float
    weather: str


@dataclass(frozen=True)
class Summary:
    """What there is to say of many days."""

    days: int
    unit: Unit
    mean_max: float | None
    warmest: Day | None


@dataclass(frozen=True)
class Spell:
    """Days of rain without a dry one between."""

    first: str
    days: int
    rain: float


@lacewing.task
def read_days(year: int) -> list[Day]:
    """Read the days of one year."""
    text = (files("vega_datasets") / "_data" / "seattle-weather.csv").read_text(encoding="utf-8")
    return [
        Day(
            date=date(*map(int, row["date"].split("/"))).isoformat(),
            precipitation=float(row["precipitation"]),
            temp_max=float(row["temp_max"]),
            temp_min=float(row["temp_min"]),
            wind=float(row["wind"]),
            weather=row["weather"],
        )
        for row in csv.DictReader(text.splitlines())
        if row["date"].startswith(f"{year}/")
    ]


@lacewing.task(cache=True)
def summarize(days: list[Day], unit: Unit, above: float | None = None) -> Summary:
    """Summarize the days, or those that were warmer than a temperature in °C. Equal inputs are computed once."""
    chosen = [day for day in days if above is None or day.temp_max > above]
    if not chosen:
        return Summary(days=0, unit=unit, mean_max=None, warmest=None)
    mean = sum(day.temp_max for day in chosen) / len(chosen)
    return Summary(
        days=len(chosen),
        unit=unit,
        mean_max=round(mean * 9 / 5 + 32 if unit is Unit.FAHRENHEIT else mean, 2),
        warmest=max(chosen, key=lambda day: day.temp_max),
    )


@lacewing.task(retries=2, backoff=lacewing.Backoff(initial=0.1))
def count_weather(days: list[Day]) -> dict[str, int]:
    """Count the days of each kind of weather. The first attempt fails."""
    if lacewing.current_attempt().attempt < 2:
        raise ConnectionError("the weather station does not answer")
    counts: dict[str, int] = {}
    for day in days:
        counts[day.weather] = counts.get(day.weather, 0) + 1
    return counts


@lacewing.task(retries=2, backoff=lacewing.Backoff(initial=0.1), timeout=1.0)
def windiest(days: list[Day]) -> Day | None:
    """Find the windiest day. The first attempt hangs until it is stopped."""
    if lacewing.current_attempt().attempt < 2:
        time.sleep(60)
    return max(days, key=lambda day: day.wind, default=None)


@lacewing.task
def rainfall(days: list[Day], seconds: float) -> float:
    """Add up the rain in mm, slowly."""
    time.sleep(seconds)
    return round(sum(day.precipitation for day in days), 1)


@lacewing.task
def measure_spell(days: list[Day]) -> Spell:
    """Measure one spell of rain."""
    return Spell(days[0].date, len(days), round(sum(day.precipitation for day in days), 1))


@lacewing.task
def wettest_first(spells: list[Spell]) -> list[Spell]:
    """Order spells by their rain."""
    return sorted(spells, key=lambda spell: spell.rain, reverse=True)


@lacewing.dynamic
def find_spells(days: list[Day], at_least: int) -> list[Spell]:
    """Measure each spell of rain that is long enough. How many there are, and so what runs, only the days can tell."""
    spells: list[Spell] = []
    for is_wet, group in itertools.groupby(days, key=lambda day: day.precipitation > 0):
        spell = list(group)
        if is_wet and len(spell) >= at_least:
            spells.append(lacewing.with_overrides(measure_spell(spell), name=f"{spell[0].date} to {spell[-1].date}"))
    return wettest_first(spells)
