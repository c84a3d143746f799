"""How a user's mistake is reported: in one sentence, without a traceback."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException
from rich.text import Text
from yaml import YAMLError

from lsm.errors import InputError
from lsm.progress import SafeConsole

#: Exit code of a command that Ctrl-C ended, as in shells: 128 and the number of the signal.
_INTERRUPTED = 130

#: Exit code of a command that SIGTERM ended.
_TERMINATED = 143

_ELSEWHERE = "choose another place by the option that names it, such as data_dir=, run_dir= or output="

#: What is wrong with a path itself, for which no other place is a remedy.
_WRONG_PATH = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR)

#: How to install the optional packages that bring some choices of a group.
_EXTRAS = {
    name: f'{name} comes with `pip install "latent-spectral-models[slurm]"`, from a checkout `pip install -e ".[slurm]"`'
    for name in ("submitit_slurm", "submitit_local")
}

#: Groups of which the configuration lists all options; the flags of Lightning's trainer and others are added with a plus.
_COMPLETE_GROUPS = ("", "model", "model.block", "data", "loss")

#: Options of the commands, by the names under which the library knows their values.
OPTION_NAMES = {
    "batch_size": "data.batch_size",
    "max_sample_bytes": "max_sample_bytes, in training data.max_sample_bytes",
    "learning_rate": "optimizer.lr",
    "optimizer": "optimizer.*",
    "scheduler": "scheduler.make.*",
    "model": "model=NAME",
    "normalization": "data.normalization.inputs=channel data.normalization.targets=channel",
    "num_scales": "model.num_scales",
    "splits": "data.splits",
    "precision": "trainer.precision=auto|32-true|bf16-mixed",
    "width": "model.width",
    "patch": "model.patch",
    "deformation": "deformation=FILE",
    "animate": "animate=false",
    "arrays": "data.inputs=[NAME,..] data.targets=[NAME,..] data.channels_last=true|false",
    "coords": "data.coords=NAME",
    "kind": "data.kind=points",
    "channels_last": "data.channels_last",
    "frames": "data.frames=[INPUTS,TARGETS]",
    "periodic": "data.periodic=true",
    "parameters": "data.parameters=[NAME,..]",
    "names": "'data.names={ARRAY:[NAME,..]}'",
    "units": "'data.units={FIELD:UNIT}'",
    "fractions": "data.fractions",
    "output": "output=",
    "level": "level=",
    "band": "band=site|field",
    "ensemble": "ensemble=true",
}


class Terminated(Exception):
    """SIGTERM ended the command."""


@contextmanager
def mistakes_reported(show_all: bool) -> Iterator[None]:
    """End the process with one sentence if a user's mistake, a full disk or GPU, or Ctrl-C is the cause.

    Args:
        show_all: raise them with their tracebacks.
    """
    try:
        yield
    except BrokenPipeError:  # as in `lsm-evaluate --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (InputError, OmegaConfBaseException, HydraException, YAMLError, OSError, RuntimeError) as error:
        if show_all or (isinstance(error, RuntimeError) and not _gpu_is_full(error)):
            raise
        _print(Text.assemble(("error:", "bold red"), " ", describe(error)))
        sys.exit(1)
    except (KeyboardInterrupt, Terminated) as error:
        if show_all:
            raise
        terminated = isinstance(error, Terminated)
        _print(Text("terminated" if terminated else "interrupted"))
        sys.exit(_TERMINATED if terminated else _INTERRUPTED)


def _print(text: Text) -> None:
    SafeConsole(stderr=True, highlight=False).print(text, soft_wrap=True)


def describe(error: Exception) -> str:
    """One sentence for a user's mistake, a full disk or a full GPU."""
    error = _raised_by_a_resolver(error) or error
    if isinstance(error, InputError):
        names = [OPTION_NAMES[name] for name in error.options if name in OPTION_NAMES]
        return str(error) + (f" ({', '.join(names)})" if names else "")
    if _gpu_is_full(error):
        reason = str(error).split(". ")[0]
        return f"the GPU's memory is full ({reason}); give a smaller batch_size= (in training data.batch_size=), or fewer workers"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "data"
        return (
            f"the disk is full while writing {where}; finished work is kept: free space and run the same command again"
        )
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename or error}; change its permissions, or {_ELSEWHERE}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        remedy = "" if error.errno in _WRONG_PATH else f"; {_ELSEWHERE}"
        return f"{error.filename}: {error.strerror.lower()}{remedy}"
    if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
        return _describe_configuration(error)
    return str(error)


def _gpu_is_full(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # not imported here, since the quickest commands do without it
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


def _describe_configuration(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        extra = _EXTRAS.get(choice, "for one of your own add --config-dir FOLDER")
        return f"{group}={choice} is unknown; choose one of: {', '.join(error.options)}; {extra}"
    if isinstance(error, (MissingMandatoryValue, InterpolationToMissingValueError)):
        return f"{str(error).splitlines()[0].rpartition(': ')[2]}= is missing; --help describes it"
    if isinstance(error, OverrideParseException):
        quoted = "put options with braces or spaces into quotes, as 'KEY={NAME: VALUE}', and texts with other signs into two, as"
        return f"{error.override} cannot be parsed as an option; write ~ as a full path; {quoted} 'KEY=\"VALUE\"'"
    lines = str(error).splitlines()
    unknown = re.match(r"Could not override '([^']+)'", lines[0])
    if unknown and (told := _describe_unknown(unknown[1], lines[-1].strip(), error.__cause__)):
        return told
    if isinstance(error, InstantiationException) and error.__cause__:
        return f"{lines[-1].removeprefix('full_key: ')}: {str(error.__cause__).splitlines()[0]}"
    # Hydra's second line says how to correct an option; YAML's other lines say where the mistake is.
    return " ".join(line.strip() for line in (lines if isinstance(error, YAMLError) else lines[:2]) if line.strip())


def _describe_unknown(typed: str, advice: str, cause: BaseException | None) -> str | None:
    """An option that there is not, and the closest one; None where Hydra's words are right.

    Args:
        typed: the option.
        advice: of Hydra, how to add it in spite of that.
        cause: what Hydra found.
    """
    if typed == "model/block":
        return f"{typed} belongs to model=lsm and model=lsm2; leave it out, or choose one of these"
    missing = getattr(cause, "full_key", None) or typed  # of modl.width=3 modl, of model={widht: 3} model.widht
    group, _, key = missing.rpartition(".")
    if missing in _options_of_own_data():
        return f"{missing} is for your own data; add benchmark=custom"
    options = [str(name) for name in getattr(cause, "parent_node", None) or () if name != "hydra" and name[0] != "_"]
    if not options and group:
        return None
    name = max(typed, missing, key=len)
    if closest := get_close_matches(key, options, 1):
        remedy = f"did you mean {name.replace(missing, f'{group}.{closest[0]}'.lstrip('.'), 1)}?"
    else:
        remedy = f"{group} has {', '.join(options)}" if group else "--help lists the options"
    if group not in _COMPLETE_GROUPS:
        return f"{name} is not in the configuration; {remedy}{'' if closest else '.'} {advice}"
    return f"{name} is no option of this command; {remedy}"


def _options_of_own_data() -> tuple[str, ...]:
    from experiments.own_data import options_of_file  # which imports this module

    return options_of_file()


def _raised_by_a_resolver(error: BaseException | None) -> InputError | OSError | None:
    """The mistake that a resolver found, which OmegaConf wraps; None if there is none."""
    while isinstance(error, OmegaConfBaseException):
        error = error.__context__
    return error if isinstance(error, (InputError, OSError)) else None
