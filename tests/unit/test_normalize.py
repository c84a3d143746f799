import numpy as np
import pytest
import torch

from lsm.data.normalize import BoundingBox, Normalizer
from lsm.errors import InputError

pytestmark = pytest.mark.numerics

SITES = (4, 3)


def fields(size=7, channels=2):
    """A large mean beside a small deviation, so that a naive one-pass variance fails."""
    generator = torch.Generator().manual_seed(0)
    return 1000 + torch.randn(size, *SITES, channels, generator=generator) * torch.tensor([0.1, 3.0])[:channels]


@pytest.mark.parametrize(("kind", "axes"), [("channel", (0, 1, 2)), ("site", 0)])
def test_statistics_are_those_of_numpy(kind, axes):
    values = fields()
    normalizer = Normalizer(kind, SITES, 2)
    normalizer.fit([values])
    exact = values.double().numpy()
    np.testing.assert_allclose(normalizer.mean, exact.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(normalizer.deviation, exact.std(axes, ddof=1) + 1e-5, rtol=1e-5)
    encoded = normalizer.encode(values)
    np.testing.assert_allclose(encoded, (exact - exact.mean(axes)) / (exact.std(axes, ddof=1) + 1e-5), atol=2e-3)


@pytest.mark.parametrize("kind", ["channel", "site"])
def test_many_batches_give_what_one_gives(kind):
    values = fields(size=8)
    whole, streamed = Normalizer(kind, SITES, 2), Normalizer(kind, SITES, 2)
    whole.fit([values])
    streamed.fit(part for part in (values[:1], values[1:4], values[4:7], values[7:]))
    torch.testing.assert_close(streamed.mean, whole.mean, rtol=1e-7, atol=0)
    torch.testing.assert_close(streamed.deviation, whole.deviation, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["none", "channel", "site"])
def test_decode_undoes_encode(kind):
    values = fields().double()
    normalizer = Normalizer(kind, SITES, 2).double()
    normalizer.fit([values])
    torch.testing.assert_close(normalizer.decode(normalizer.encode(values)), values, rtol=1e-12, atol=0)


def test_decode_by_hand():
    normalizer = Normalizer("channel", (1,), 2)
    normalizer.fit([torch.tensor([[[0.0, 5.0]], [[2.0, 9.0]]])])
    found = normalizer.decode(torch.tensor([[[1.0, -1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[1 + 2**0.5, 7 - 8**0.5]]]), rtol=1e-4, atol=0)


def test_none_is_the_identity_and_reads_nothing():
    normalizer = Normalizer("none", SITES, 2)
    normalizer.fit(pytest.fail("read") for _ in range(1))
    values = fields()
    assert normalizer.encode(values) is values
    assert normalizer.decode(values) is values


def test_a_site_that_never_varies_stays_finite():
    values = fields()
    values[:, 0] = 3
    normalizer = Normalizer("site", SITES, 2)
    normalizer.fit([values])
    assert torch.equal(normalizer.deviation[0], torch.full((3, 2), 1e-5))
    assert torch.equal(normalizer.encode(values)[:, 0], torch.zeros(7, 3, 2))
    assert torch.isfinite(normalizer.encode(values)).all()


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e-12])
def test_channels_of_small_numbers_are_normalised_too(scale):
    """Displacements in metres, say: within the hundredth that the floor may add."""
    normalizer = Normalizer("channel", SITES, 2)
    normalizer.fit([scale * fields()])
    encoded = normalizer.encode(scale * fields()).flatten(0, -2)
    assert encoded.std(dim=0).tolist() == pytest.approx([1.0, 1.0], rel=0.011)
    assert torch.allclose(normalizer.decode(normalizer.encode(scale * fields())), scale * fields(), atol=1e-6 * scale)
    normalizer.fit([torch.full((7, *SITES, 2), 3.0)])
    assert torch.equal(normalizer.deviation, torch.full((2,), 1e-5)), "a channel that never varies stays finite"


@pytest.mark.parametrize("way", ["encode", "decode"])
def test_per_site_refuses_another_grid_and_per_channel_takes_it(way):
    other = torch.randn(2, 8, 3, 2)
    with pytest.raises(InputError, match=r"\(4, 3, 2\).*\(8, 3, 2\).*normalisation by channel") as caught:
        getattr(Normalizer("site", SITES, 2), way)(other)
    assert caught.value.options == ("normalization",)
    assert getattr(Normalizer("channel", SITES, 2), way)(other).shape == other.shape


def test_statistics_travel_with_the_state():
    normalizer, other = Normalizer("site", SITES, 2), Normalizer("site", SITES, 2)
    normalizer.fit([fields()])
    other.load_state_dict(normalizer.state_dict())
    assert torch.equal(other.encode(fields()), normalizer.encode(fields()))


def test_too_few_samples():
    for batches in ([], [fields(size=1)]):
        with pytest.raises(InputError, match="at least 2 training samples"):
            Normalizer("site", SITES, 2).fit(batches)


def cloud(size=5):
    """Points in metres, far from the origin and flat in the third direction."""
    unit = torch.rand(size, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return unit * torch.tensor([2000.0, 0.5, 0.0]) + torch.tensor([1e4, -3.0, 8.0])


def test_a_box_maps_the_training_samples_to_the_unit_cube():
    box, points = BoundingBox(3).double(), cloud()
    box.fit(part for part in (points[:1], points[1:4], points[4:]))
    found = box.encode(points).flatten(0, 1)
    torch.testing.assert_close(found.amin(0), torch.zeros(3, dtype=torch.float64))
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)  # only shifted where no sample extends
    torch.testing.assert_close(found.amax(0), expected)
    outside = torch.tensor([[[1e4 - 2000.0, -3.0, 9.0]]], dtype=torch.float64)
    assert (box.encode(outside)[0, 0, [0, 2]] - torch.tensor([-1.0, 1.0])).abs().max() < 0.1, "others may lie outside"


def test_units_and_origin_of_length_do_not_matter_to_a_box():
    metres, other = BoundingBox(3).double(), BoundingBox(3).double()
    metres.fit([cloud()])
    millimetres = 1000 * cloud() + 70.0
    other.fit([millimetres])
    torch.testing.assert_close(other.encode(millimetres)[..., :2], metres.encode(cloud())[..., :2], rtol=0, atol=1e-9)


def test_a_box_travels_with_the_state():
    box, other = BoundingBox(3), BoundingBox(3)
    box.fit([cloud().float()])
    other.load_state_dict(box.state_dict())
    assert torch.equal(other.encode(cloud().float()), box.encode(cloud().float()))


@pytest.mark.parametrize("kind", ["none", "channel", "site"])
def test_every_second_site_is_decoded_with_its_own_statistics(kind):
    normalizer = Normalizer(kind, SITES, 2)
    normalizer.fit([fields()])
    coarse = fields()[:, ::2, ::2]
    assert torch.equal(normalizer.decode(coarse, stride=2), normalizer.decode(fields())[:, ::2, ::2])
