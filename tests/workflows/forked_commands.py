"""Run commands as processes of their own that share one import of the heavy libraries.

Reads one line of JSON per command, ``[folder, name, options]``, and answers with ``[code, output, errors]``. Each runs in a
fork, as ``python -m experiments.NAME OPTIONS`` would: same exit code, same words on the same streams.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback

from composition import load_once
from hydra._internal.config_repository import ConfigRepository

from experiments.app import compose_config, config_dir

HEAVY = (
    "torch",
    "pytorch_lightning",
    "matplotlib.figure",
    "matplotlib.tri",
    "hydra",
    "tensorboard",
    "h5py",
    "scipy.io",
    "filelock",
    "safetensors.torch",
    "lsm.checkpoint",
    "lsm.training.module",
    "data_prep.generation.engine",
    "data_prep.published.convert",
    "experiments.runs",
)


def run_child(folder: str, name: str, options: list[str], output: int, errors: int) -> int:
    """What the interpreter does with a module: run it, show an exception, give its exit code."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = os.pathsep.join((folder, os.environ["PYTHONPATH"]))  # for processes that it starts
    os.dup2(output, 1)
    os.dup2(errors, 2)
    sys.argv = [name, *options]
    code = 0
    try:
        runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def answer(folder: str, name: str, options: list[str]) -> tuple[int, str, str]:
    """Run one command in a fork."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if not child:
            code = 1
            try:
                code = run_child(folder, name, options, output.fileno(), errors.fileno())
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode())
    return code, texts[0], texts[1]


def main() -> None:
    for module in HEAVY:
        importlib.import_module(module)
    ConfigRepository.load_config = load_once
    for primary in sorted(config_dir().glob("*.yaml")):  # files and what Hydra's parsers keep are shared, too
        if "defaults" in primary.read_text():
            compose_config(primary.stem)
    gc.freeze()  # what is imported is shared by all forks; collecting it would copy it
    for line in sys.stdin:
        print(json.dumps(answer(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
