"""Files that appear whole or not at all, whoever else writes them, and what killed writers leave."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from lsm.errors import InputError
from lsm.files import remove_leftovers, require_regular, whole_file, write_whole

LONG_AGO = time.time() - 3600


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    with whole_file(path) as file:
        file.write(b"{}")
        assert not path.exists()
    assert path.read_bytes() == b"{}"
    write_whole(path, "unit: µm")
    assert path.read_text(encoding="utf-8") == "unit: µm"
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_keeps_the_old_file_and_is_named_with_it(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    write_whole(path, b"good")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lsm.files.os.fsync", fail)
    with pytest.raises(OSError, match=r"picture\.png") as caught:
        write_whole(path, b"torn")
    assert (caught.value.errno, caught.value.filename) == (number, str(path))
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("picture.png", b"good")]


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with whole_file(path) as first, whole_file(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first", "the one that finished last"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    write_whole(path, b"good")
    for name in ("last.ckpt.0123.partial", "last.ckpt.partial", "best.ckpt.0123.partial", "last.ckpt.txt"):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))
    (tmp_path / "last.ckpt.recent.partial").write_bytes(b"")
    with whole_file(path) as running:
        os.utime(running.name, (LONG_AGO, LONG_AGO))
        remove_leftovers(path)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
            [
                "best.ckpt.0123.partial",
                "last.ckpt",
                "last.ckpt.recent.partial",
                "last.ckpt.txt",
                Path(running.name).name,
            ]
        )


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name, kind in (("pipe", "pipe or device"), ("link", "pipe or device"), ("", "folder")):
        with pytest.raises(InputError, match=f"is a {kind}, expected a file"):
            require_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        require_regular(tmp_path / "none")
