"""Which fields a picture shows beside one another: truth, prediction and error, a band, or the errors of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lsm.plotting.painting import colour_scale, error_scale

PREDICTION, ERROR, HALF_WIDTH = "prediction", "absolute error", "half-width of the band"


@dataclass(frozen=True)
class Panel:
    """One scalar field.

    Args:
        name: what it is.
        values: ``(*sites)``, masked where nothing is drawn.
        at: ``(*sites, d)``, where the sites lie; None on a regular grid.
        is_error: whether it has the colours of errors, from zero.
    """

    name: str
    values: np.ma.MaskedArray
    at: np.ndarray | None
    is_error: bool = False


def panels_of(
    truth: Panel,
    predictions: Mapping[str, Panel],
    errors: Mapping[str, np.ma.MaskedArray],
    half_width: np.ma.MaskedArray | None = None,
) -> list[Panel]:
    """Truth, prediction, error and perhaps the half-width of a band; of several models the truth and the error of each.

    Args:
        truth: the true field.
        predictions: by the name of the model; a single one has an empty name.
        errors: absolute, at the sites of the truth, by the name of the model.
        half_width: ``(*sites)``, as the errors.
    """
    if list(predictions) != [""]:
        return [truth, *(Panel(f"error of {name}", error, truth.at, True) for name, error in errors.items())]
    band = [] if half_width is None else [Panel(HALF_WIDTH, half_width, truth.at, True)]
    return [truth, predictions[""], Panel(ERROR, errors[""], truth.at, True), *band]


@dataclass(frozen=True)
class Scales:
    """Common colours of panels: one scale for the fields, one for the errors."""

    field: dict[str, Any]
    error: dict[str, Any]

    def of(self, panel: Panel) -> dict[str, Any]:
        """The scale of a panel."""
        return self.error if panel.is_error else self.field


def scales_of(panels: Sequence[Panel], more: Sequence[np.ndarray] = (), seen: Any = ...) -> Scales:
    """Common scales; the truth alone decides whether colours diverge about zero.

    Args:
        panels: all of one field, at one time or at several.
        more: further true values, ``(*sites)`` each.
        seen: index of the sites that are shown.
    """
    fields = [panel for panel in panels if not panel.is_error]
    truths = [panel.values[seen] for panel in fields if panel.name != PREDICTION]
    predictions = [panel.values[seen] for panel in fields if panel.name == PREDICTION]
    errors = [panel.values[seen] for panel in panels if panel.is_error]
    return Scales(colour_scale([*truths, *more], predictions), error_scale(errors) if errors else {})
