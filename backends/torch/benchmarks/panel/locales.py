"""Dates and numbers as a locale writes them, each with its one canonical form: pairs that can be learnt without a rest."""

from __future__ import annotations

import datetime

import numpy as np

from attent.errors import RecipeError

KNOWN = ("en_US", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "pl", "cs", "ru")
NEW = ("fi", "hu", "tr", "el", "lt", "eu")
_FIRST, _DAYS = datetime.date(1950, 1, 1), 36_524  # a century, so that a year of two digits says which
_CURRENCIES = ("EUR", "USD", "GBP", "JPY")

Pair = tuple[bytes, bytes]


def pairs(locales: tuple[str, ...], count: int, draw: np.random.Generator) -> list[Pair]:
    """Return ``count`` different pairs, as many of each locale as of the others: its name and what it writes, what is meant.

    Two thirds are dates, a sixth amounts of money. Raises RecipeError where Babel, which knows what a locale
    writes, is not installed.
    """
    found: dict[Pair, None] = {}  # a set that keeps its order
    while len(found) < count:
        found[pair(locales[len(found) % len(locales)], draw)] = None
    return list(found)


def pair(locale: str, draw: np.random.Generator) -> Pair:
    """Return one pair of a locale, drawn; raises RecipeError as `pairs` does."""
    try:
        from babel.dates import format_date
        from babel.numbers import format_currency, format_decimal
    except ImportError:
        raise RecipeError("this recipe needs Babel: python -m pip install babel") from None
    kind = draw.integers(6)
    if kind < 4:
        date = _FIRST + datetime.timedelta(int(draw.integers(_DAYS)))
        form = ("short", "medium", "long")[draw.integers(3)]
        written, meant = format_date(date, form, locale=locale), date.isoformat()
    else:
        number = int(draw.integers(10 ** draw.integers(2, 8))) / 100
        written, meant = format_decimal(number, locale=locale), f"{number:.2f}"
        if kind == 5:
            currency = _CURRENCIES[draw.integers(len(_CURRENCIES))]
            number = round(number) if currency == "JPY" else number
            written = format_currency(number, currency, locale=locale)
            meant = f"{number:.2f} {currency}"
    return f"{locale}:{written}".encode(), meant.encode()
