"""The terminal: one console for all output, and a bar for long work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress, Task

#: Control characters, escape sequences, marks that change the direction of a text, and halves of surrogate pairs, which no
#: encoding has; and how they are shown instead.
_SHOWN = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(32), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000))
    if chr(code) not in "\n\t"
}


class SafeConsole(Console):
    """A terminal that shows what texts from files contain instead of obeying it.

    Example:
        >>> import io
        >>> shown = SafeConsole(file=io.StringIO())
        >>> shown.print("pressure \\x1b[2J \\ud800")
        >>> shown.file.getvalue()
        'pressure \\\\x1b[2J \\\\ud800\\n'
    """

    def render(self, *args: Any, **options: Any) -> Iterator[Segment]:
        """Segments of a renderable; rich's own controls pass."""
        for segment in super().render(*args, **options):
            yield segment if segment.control else segment._replace(text=segment.text.translate(_SHOWN))


# Paths may contain what rich takes for markup or names of emoji.
console = SafeConsole(highlight=False, markup=False, emoji=False)


def _describe_rate(task: Task) -> str:
    speed = task.finished_speed or task.speed
    return "" if speed is None else f"{speed:.3g}/s"


def progress_bar() -> Progress:
    """A bar with count, rate and remaining time."""
    # On first use: commands that fail at once do without it.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_describe_rate(task))

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=14),  # count, rate and time fit beside it on 80 columns
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
