"""Files that appear under their final names complete or not at all, and files that are safe to open."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # systems other than POSIX; nothing is locked or removed there
    fcntl = None  # type: ignore[assignment]

from lsm.errors import InputError, explained

#: Seconds after which an unlocked partial file counts as the leftover of a killed process.
_LEFTOVER_AGE = 60


@contextmanager
def whole_file(path: Path) -> Iterator[Any]:
    """Write a file, in bytes, that appears under its name only when it is complete and on the disk.

    Yields:
        The open file, whose temporary name is unique: two processes that write ``path`` do not disturb each other.
    Raises:
        OSError: the disk is full or the folder cannot be written; the error names ``path``, and an old file is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # No process number: machines that share a folder may have the same ones.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            _try_lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        with suppress(OSError):  # not all systems allow fsync on folders
            _sync_folder(path.parent)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Fill an absent or empty folder with files that appear there only when all are complete.

    Yields:
        A temporary folder in it, for the files.
    Raises:
        OSError: as of :func:`whole_file`; the folder is as it was before.
    """
    absent = not folder.exists()
    partial = folder / f"{secrets.token_hex(8)}.partial"
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in sorted(partial.iterdir()):
            os.replace(file, folder / file.name)
        partial.rmdir()
    except BaseException as error:
        shutil.rmtree(folder if absent else partial, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is not None:
            error.filename = str(folder / Path(error.filename).name)
        raise


def require_space(path: Path, num_bytes: float) -> None:
    """Refuse before libraries fill a disk: HDF5 and writes to mapped memory end the process there instead of raising errors.

    Args:
        path: a file to be made.
        num_bytes: its size.
    Raises:
        OSError: as from a full disk; it names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < num_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text or bytes; see :func:`whole_file`."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(file: Any) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock or the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (AttributeError, OSError):
        return False
    return True


def remove_leftovers(path: Path) -> None:
    """Remove partial files of ``path`` that killed processes left; those of running processes are locked or recent."""
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        if file.name.startswith(f"{path.name}.") and file.suffix == ".partial":
            with suppress(OSError):
                if time.time() - file.stat().st_mtime > _LEFTOVER_AGE and _is_unlocked(file):
                    file.unlink()


def _is_unlocked(path: Path) -> bool:
    with path.open("rb") as file:
        return _try_lock(file)


def require_free(*paths: Path, remedy: str) -> None:
    """Check that nothing exists where files are to be written.

    Args:
        paths: of the files.
        remedy: what to do otherwise, for the message.
    Raises:
        InputError: something exists; the message lists it.
    """
    taken = [str(path) for path in paths if path.exists()]
    if taken:
        raise InputError(f"{', '.join(taken)} {'exist' if taken[1:] else 'exists'} already; {remedy}")


def require_regular(path: Path) -> None:
    """Check that a path names a regular file: opening a pipe would wait for ever.

    Raises:
        FileNotFoundError: nothing exists there.
        InputError: it is a folder, a pipe, a device or a socket.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is a {'folder' if path.is_dir() else 'pipe or device'}, expected a file")


def reading(path: Path, kind: str) -> AbstractContextManager[None]:
    """Turn the many exceptions of readers on damaged files into one; files that may not be read stay an OSError.

    Args:
        path: the file.
        kind: as what it is read, such as "a MATLAB file".
    Raises:
        InputError: reading failed.
    """
    return explained(f"{path} cannot be read as {kind}", Exception, "it is damaged: download or make it again")


def sha256(path: Path) -> str:
    """SHA-256 checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
