"""The exponential average of weights: its numbers, and that a checkpoint holds both it and the weights."""

import pytest
import torch
from torch import nn

from lsm.errors import OptionError
from lsm.training.averaging import ExponentialAverage


def test_the_average_by_hand():
    average = ExponentialAverage(0.5)
    average._average_model = torch.optim.swa_utils.AveragedModel(nn.Linear(1, 1), use_buffers=False, **average._kwargs)
    model, expected = nn.Linear(1, 1), None
    for step, value in enumerate([3.0, 5.0, 9.0, -1.0, 4.0, 4.0, 0.0, 2.0, 8.0, 1.0, 1.0]):
        nn.init.constant_(model.weight, value)
        average._average_model.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert average._average_model.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_a_decay_of_one_would_never_move():
    with pytest.raises(OptionError, match="^decay is 1.0, expected"):
        ExponentialAverage(1.0)
