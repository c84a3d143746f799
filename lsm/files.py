"""Files that appear under their names whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """Write a file, in bytes, that appears under its name only when it is complete and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # No process number: machines that share a folder may have the same ones.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            yield file
        put_in_place(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text or bytes; see :func:`whole_file`."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def put_in_place(partial: Path, path: Path) -> None:
    """Give a complete, closed file its name, such that a power failure leaves the old file or the new one."""
    _onto_the_disk(partial, os.O_RDWR)
    os.replace(partial, path)
    with suppress(OSError):  # not all systems let folders
        _onto_the_disk(path.parent, os.O_RDONLY)


def _onto_the_disk(path: Path, mode: int) -> None:
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
