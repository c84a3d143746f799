"""Forward passes of small models against numbers that were stored when the parity tests held.

Parameters and inputs come from Python's own generator, whose ``random()`` is promised to stay the same, not from torch's.
Tolerance: in double precision, sums in another order (other machine, other library) move these outputs by less than 1e-12;
1e-9 leaves room for that and for nothing else. A change that means to alter the function must store new numbers and say so.
"""

import random

import pytest
import torch

from lsm.fields import Channel, FieldSpec
from lsm.model import MODELS

pytestmark = pytest.mark.numerics

BLOCK = {"name": "neural_spectral", "heads": 8, "num_tokens": 4, "num_basis": 12}


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def numbers(shape, source):
    """Uniform numbers in -1 .. 1."""
    count = torch.Size(shape).numel()
    return torch.tensor([2 * source.random() - 1 for _ in range(count)]).reshape(shape)


def seeded(spec, projection, patch, num_scales):
    """A model in evaluation mode whose every parameter and statistic is drawn in order of its name."""
    config = {
        "name": "lsm",
        "width": 8,
        "patch": patch,
        "num_scales": num_scales,
        "projection": projection,
        "block": BLOCK,
    }
    model = MODELS.make(config, spec).eval()
    source = random.Random(0)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if not value.is_floating_point() and not value.is_complex():
                continue
            drawn = numbers(value.shape, source)
            if value.is_complex():
                drawn = torch.complex(drawn, numbers(value.shape, source))
            fan_in = max(value[0].numel(), 1) if value.dim() > 1 else 4
            value.copy_(1 + 0.5 * drawn if name.endswith("running_var") else drawn * (3 / fan_in) ** 0.5)
    return model, source


def check(found, mean, square, values):
    assert found.mean().item() == pytest.approx(mean, rel=1e-9)
    assert found.square().mean().item() == pytest.approx(square, rel=1e-9)
    few = found.flatten()[:: found.numel() // len(values)][: len(values)]
    assert few.tolist() == pytest.approx(values, rel=1e-9)


def test_grid():
    """Rank 2, 13 x 9 sites padded to 16 x 12, two channels in and out, three scales."""
    channels = Channel("first"), Channel("second")
    spec = FieldSpec("grid", (13, 9), ("x", "y"), channels, channels)
    model, source = seeded(spec, {}, [2, 3], 3)
    found = model(numbers((2, 13, 9, 2), source))
    assert found.shape == (2, 13, 9, 2)
    check(found, *GRID)


def test_points():
    """Eleven points with a shape code of three numbers, a 16 x 16 grid, four modes, two scales."""
    spec = FieldSpec("points", (11,), ("point",), (Channel("x"), Channel("y")), (Channel("stress"),), code=3)
    projection = {"modes": 4, "resolution": 16}
    model, source = seeded(spec, projection, [4, 2], 2)
    coords = 0.5 + 0.5 * numbers((2, 11, 2), source)
    found = model(coords, coords, numbers((2, 3), source))
    assert found.shape == (2, 11, 1)
    check(found, *POINTS)


# Mean, mean square, and some values evenly spread over the field.
GRID = (
    0.05538157592462665,
    0.13369741935040622,
    [
        -0.44679049659398284,
        -0.30637815436290805,
        -0.34132614985865084,
        -0.44630337913036466,
        -0.31371318398154946,
        -0.33195028165196305,
    ],
)
POINTS = (
    -2.6316053164464495,
    20.806600947971607,
    [
        -2.638987257230937,
        0.21911496415207643,
        -3.3280899659387373,
        -0.7297297933021272,
        2.8086502945290306,
        -3.83806926418918,
    ],
)
