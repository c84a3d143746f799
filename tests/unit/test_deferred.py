"""The import that commands put off: the start of a command goes without it, and who uses it gets it."""

import subprocess
import sys

PROGRAM = """
import sys
from experiments.deferred import defer_scipy_signal

defer_scipy_signal()
import torchmetrics
print("_signaltools" in str(list(sys.modules)))

from scipy.signal import resample
import scipy.signal.windows
print(len(resample([1.0, 2.0, 3.0], 6)), hasattr(scipy.signal, "hamming"), scipy.signal is sys.modules["scipy.signal"])
"""


def test_torchmetrics_does_not_load_scipy_signal_and_its_users_still_get_it() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded, used = run.stdout.splitlines()
    assert loaded == "False"
    assert used == "6 False True"
