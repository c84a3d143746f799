"""The commands."""

import sys
from pathlib import Path

from lsm.process_memory import restart_without_gaps
from lsm.process_threads import wait_briefly


def _is_command(arguments: list[str]) -> bool:
    """Whether an interpreter with these arguments runs one of the commands: ``-m experiments.NAME`` or ``PATH/lsm-NAME``."""
    first, *rest = [*arguments, ""]
    return Path(first).name.startswith("lsm-") or (first == "-m" and rest[0].startswith("experiments."))


# Before the slow imports: the thread library reads its setting when torch is imported, and the program restarts itself here.
if _is_command(sys.orig_argv[1:]):
    wait_briefly()
    restart_without_gaps(sys.orig_argv[1:])
