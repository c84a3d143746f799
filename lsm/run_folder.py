"""The folder of a run, as far as reading a solver from it needs. Imports no PyTorch: commands look here before they load it."""

from __future__ import annotations

from pathlib import Path


def best_checkpoint(path: str | Path) -> Path:
    """The best checkpoint of a run's folder; a file and any other folder, such as an exported one, as they are.

    Raises:
        FileNotFoundError: there is no such file or folder, or the run has none but its last checkpoint.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a checkpoint, or the folder of a run")
    best, last = (path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))
    if last.is_file() and not best.is_file():
        raise FileNotFoundError(f"{best} does not exist, since no epoch was validated; give {last}")
    return best if best.is_file() else path
