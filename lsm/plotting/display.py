"""What only pictures of a data set need to know; stored with the data, never with a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lsm.errors import explained, option_group
from lsm.fields import FieldSpec
from lsm.registry import Options, check_options, check_value


@dataclass(frozen=True)
class Tool(Options):
    """A rigid tool above a mesh that moves; it comes down as time passes.

    Args:
        height: name of the input field with the height of its underside in frame 0, ``(n,)`` along the first axis.
        span: horizontal positions of the first and the last of these heights, which are evenly spaced.
        travel: distance by which it comes down from one frame to the next.
    """

    height: str
    span: tuple[float, float]
    travel: float


@dataclass(frozen=True)
class Display(Options):
    """How to draw the fields of a data set.

    Args:
        window: the part of the plane to show, ``((x_low, x_high), (y_low, y_high))``; all of it by default.
        positions: for a mesh that moves, names of the two target fields that say where its sites lie.
        tool: the tool that moves such a mesh.
    Raises:
        OptionError: an entry has another form, or the window is empty.

    Example:
        >>> Display.from_dict(Display(window=((0.0, 1.0), (0.0, 2.0))).to_dict()).window
        ((0.0, 1.0), (0.0, 2.0))
    """

    window: tuple[tuple[float, float], tuple[float, float]] | None = None
    positions: tuple[str, str] | None = None
    tool: Tool | None = None

    def find_problem(self) -> tuple[str, str] | None:
        """An empty window; see :meth:`lsm.registry.Options.find_problem`."""
        if self.window is None or all(low < high for low, high in self.window):
            return None
        return "window", f"is {self.window}, which is empty; expected low < high along both axes"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as a store holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Display:
        """The inverse of :meth:`to_dict`; missing entries take their defaults.

        Raises:
            InputError: an entry is missing or of another form.
        """
        malformed = "the display record of this data set is malformed"
        with explained(malformed, ValueError, "write the store again", passing=()):
            check_value("the record", plain, Mapping[str, Any])
            tool = plain.get("tool")
            if tool is not None:
                with option_group("tool"):
                    tool = _made(Tool, tool)
            return _made(cls, {**plain, "tool": tool})

    def restricted_to(self, spec: FieldSpec) -> Display:
        """The entries that apply to ``spec``, for a reader need not decode every stored field.

        Positions need both of their target fields; a tool needs positions, its input field and a time axis; a window needs
        sites that have positions in the plane, unlike those of a regular lattice.
        """
        targets, inputs = ({channel.name for channel in channels} for channels in (spec.targets, spec.inputs))
        positions = self.positions if targets.issuperset(self.positions or ()) else None
        tool = self.tool if positions and self.tool and "time" in spec.axes and self.tool.height in inputs else None
        has_plane = positions or (spec.geometry != "grid" and spec.space_dim > 1)
        return Display(self.window if has_plane else None, positions, tool)

    def in_window(self, coords: np.ndarray | None) -> np.ndarray | slice:
        """Index of the sites at ``coords`` ``(*sites, 2)`` that lie in the window; of all sites without a window."""
        if self.window is None or coords is None:
            return slice(None)
        low, high = np.array(self.window).T
        return ((coords >= low) & (coords <= high)).all(axis=-1)


def _made(kind: type, plain: Mapping[str, Any]) -> Any:
    entries = {name: _as_tuples(value) for name, value in plain.items()}
    check_options(kind, entries)
    return kind(**entries)


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
