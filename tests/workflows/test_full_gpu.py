"""A GPU that many processes or large batches fill; exercised without one."""

from __future__ import annotations

import pytest
import torch
from toy_generators import FullGpuGenerator
from toy_sets import make

from data_prep.generation.job import Job
from experiments.generate import choose_workers
from experiments.mistakes import mistakes_reported
from lsm.provenance import count_processors


@pytest.mark.parametrize(
    ("options", "workers"),
    [([], count_processors()), (["device=cuda"], 1), (["device=cuda", "workers=3"], 3), (["workers=3"], 3)],
)
def test_one_process_fills_a_gpu(options, workers, compose):
    assert choose_workers(compose("generate", "benchmark=darcy", *options)) == workers


@pytest.mark.slow
def test_a_full_gpu_is_told_with_the_remedy(tmp_path, capsys):
    job = Job(FullGpuGenerator(), tmp_path / "toy.h5", "toy", num_samples=1)
    with pytest.raises(SystemExit), mistakes_reported(show_all=False):
        make(job)
    told = "error: the GPU's memory is full (CUDA out of memory); give a smaller batch_size= (in training data.batch_size=)"
    assert capsys.readouterr().err == f"{told}, or fewer workers\n"


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("a mistake of ours")]
)
def test_other_errors_and_all_where_wanted_come_with_their_tracebacks(error):
    with pytest.raises(type(error)), mistakes_reported(show_all=type(error) is not RuntimeError):
        raise error
