"""What only pictures of a data set need to know; stored with the data, never with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lsm.errors import InputError


@dataclass(frozen=True)
class Tool:
    """A rigid tool above sites that move, which comes down as time passes.

    Args:
        height: name of the input field with the height of its underside in frame 0, along the first axis.
        span: horizontal positions of the first and the last of these heights, which are evenly spaced.
        travel: distance by which it comes down from one frame to the next.
    """

    height: str
    span: tuple[float, float]
    travel: float


@dataclass(frozen=True)
class Display:
    """How to draw the fields of a data set.

    Args:
        window: the part of the plane to show, ``((x_low, x_high), (y_low, y_high))``; all of it by default.
        positions: for a mesh that moves, names of the two target fields that say where its sites lie.
        tool: the tool that moves such a mesh.

    Example:
        >>> Display.from_dict(Display(window=((0.0, 1.0), (0.0, 2.0))).to_dict()).window
        ((0.0, 1.0), (0.0, 2.0))
    """

    window: tuple[tuple[float, float], tuple[float, float]] | None = None
    positions: tuple[str, str] | None = None
    tool: Tool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as a store holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Display:
        """The inverse of :meth:`to_dict`; missing entries take their defaults.

        Raises:
            InputError: the entries are of another form.
        """
        try:
            window, positions, tool = (plain.get(name) for name in ("window", "positions", "tool"))
            return cls(
                window=window and tuple((float(low), float(high)) for low, high in window),
                positions=positions and (str(positions[0]), str(positions[1])),
                tool=tool
                and Tool(str(tool["height"]), (float(tool["span"][0]), float(tool["span"][1])), float(tool["travel"])),
            )
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"the display record of this data set is malformed ({error!r}); write the store again"
            ) from error
