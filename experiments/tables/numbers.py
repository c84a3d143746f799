"""Numbers as a reader wants them: a few digits, with a prefix of their unit."""

from __future__ import annotations

#: Shown where nothing is known.
NOTHING = "\N{EN DASH}"


def decimals_of(value: float, digits: int = 3) -> int:
    """Decimals that show so many digits of a number."""
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded number
    return max(digits - 1 - exponent, 0)


def as_error(value: float | None, decimals: int | None = None) -> str:
    """An error with three digits, or with so many decimals, such as 0.0167."""
    return NOTHING if value is None else f"{value:.{decimals_of(value) if decimals is None else decimals}f}"


def decimals_of_pair(mean: float, deviation: float | None) -> int:
    """Decimals that show three digits of a mean and, with up to two more, the first digit of its deviation."""
    usual = decimals_of(mean)
    return usual if not deviation else max(usual, min(decimals_of(deviation, 1), usual + 2))


def as_count(value: float | None) -> str:
    """A number with three digits and a prefix, such as ``1.23 M``."""
    return _scaled(value, 1000.0, ("", "k", "M", "G", "T"))


def as_bytes(value: float | None) -> str:
    """Memory, such as ``172 MiB``."""
    return _scaled(value, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB"))


def as_seconds(value: float | None) -> str:
    """A time, such as ``12.3 ms``, ``4.10 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    if value is None:
        return NOTHING
    if value < 0.9995:
        return f"{_rounded(1000 * value)} ms"
    if value < 99.95:
        return f"{_rounded(value)} s"
    if round(value) < 3600:
        return f"{round(value) // 60} min {round(value) % 60} s"
    return f"{round(value / 60) // 60} h {round(value / 60) % 60} min"


def as_share(value: float | None) -> str:
    """A share in percent, such as ``19 %``."""
    return NOTHING if value is None else f"{_rounded(100 * value, 2)} %"


def _rounded(value: float, digits: int = 3) -> str:
    return f"{value:.{decimals_of(value, digits)}f}"


def _scaled(value: float | None, base: float, prefixes: tuple[str, ...]) -> str:
    if value is None:
        return NOTHING
    power = 0
    while value >= 0.9995 * base and power < len(prefixes) - 1:
        value, power = value / base, power + 1
    whole = power == 0 and float(value).is_integer()
    return f"{value:.0f}" if whole and not prefixes[0] else f"{_rounded(value)} {prefixes[power]}".rstrip()
