"""A page with a small picture of each sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from lsm.report.content import Picture
from lsm.report.page import fill_template


@dataclass(frozen=True)
class Entry:
    """One sample.

    Args:
        index: its position in the split.
        error: its relative L2 error.
        draw: draws it.
    """

    index: int
    error: float
    draw: Callable[[], Figure]


def render_gallery(title: str, entries: Sequence[Entry], dpi: int = 60) -> bytes:
    """The page, in UTF-8, those with the largest errors first; it opens without a network.

    Args:
        title: headline.
        entries: the samples.
        dpi: resolution of the pictures.
    """
    ordered = sorted(entries, key=lambda entry: -entry.error)
    pictures = [
        Picture(entry.draw, f"sample {entry.index}: relative L2 error {entry.error:.4g}", fields=True)
        for entry in ordered
    ]
    return fill_template("gallery.html.jinja", dpi, title=title, pictures=pictures)
