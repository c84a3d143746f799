import numpy as np
import pytest
import torch

from lsm.data.datamodule import FieldDataModule, StoredSamples
from lsm.data.readers.base import Reader
from lsm.data.readers.points import PointsReader
from lsm.data.store import StoredField, StoreWriter
from lsm.errors import InputError, OptionError
from lsm.fields import Channel, FieldBatch, FieldSpec
from lsm.registry import check_options

NUM_SAMPLES = 12
SPLITS = {"train": [0, 7], "validation": [7, 9], "test": [9, 12]}


class RampReader(Reader):
    """Inputs hold the sample's number, targets its square; notes every sample that it decodes."""

    fields = ("ramp",)

    def __init__(self, sites=3):
        self.sites, self.decoded = sites, []

    def describe(self, store):
        return FieldSpec("grid", (self.sites,), ("x",), (Channel("ramp"),), (Channel("square"),))

    def decode(self, arrays):
        values = torch.from_numpy(arrays["ramp"][..., None])
        self.decoded.append(int(values[0]))
        return FieldBatch(inputs=values, targets=values**2)


@pytest.fixture
def path(tmp_path):
    fields = {"ramp": StoredField((3,), "1", "sample number plus a fraction of the site")}
    with StoreWriter(tmp_path / "store.h5", "ramp", fields, NUM_SAMPLES, {}) as writer:
        for index in range(NUM_SAMPLES):
            writer.write(index, {"ramp": index + np.array([0, 0.25, 0.5], dtype="f4")})
    return tmp_path / "store.h5"


def numbers(batches):
    """Which samples each batch holds."""
    return [batch.inputs[:, 0, 0].int().tolist() for batch in batches]


def order(path, epoch, **options):
    loader = FieldDataModule(path, RampReader(), SPLITS, batch_size=3, **options).train_dataloader()
    loader.sampler.set_epoch(epoch)
    return numbers(loader)


def test_each_split_holds_its_samples_and_the_last_batch_is_smaller(path):
    data = FieldDataModule(path, RampReader(), SPLITS, batch_size=3)
    assert numbers(data.batches("train")) == [[0, 1, 2], [3, 4, 5], [6]]
    assert numbers(data.batches("validation")) == numbers(data.val_dataloader()) == [[7, 8]]
    assert numbers(data.batches("test")) == [[9, 10, 11]]
    assert [len(data.dataset(split)) for split in SPLITS] == [7, 2, 3]
    first = next(iter(data.batches("test")))
    torch.testing.assert_close(first.targets, first.inputs**2)
    assert first.inputs.shape == (3, 3, 1)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_read_lazily_equals_held_in_memory(path, num_workers):
    held, lazy = (
        FieldDataModule(
            path, RampReader(), SPLITS, batch_size=3, in_memory=held, num_workers=0 if held else num_workers
        )
        for held in (True, False)
    )
    for one, other in zip(held.batches("train"), lazy.batches("train"), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_a_process_of_a_loader_opens_the_store_itself(path):
    samples = StoredSamples(path, RampReader(), (0, 9), in_memory=False)
    assert torch.equal(samples[1].inputs, samples[1].inputs)
    (parent, opened), forked = samples._opened, samples._opened[0] + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lsm.data.datamodule.os.getpid", lambda: forked)
        samples[1]
    assert parent != forked == samples._opened[0]
    assert samples._opened[1] is not opened


def test_held_samples_are_decoded_once_and_lazy_ones_when_wanted(path):
    held, lazy = RampReader(), RampReader()
    for reader, in_memory in ((held, True), (lazy, False)):
        samples = StoredSamples(path, reader, (2, 5), in_memory)
        assert reader.decoded == ([2, 3, 4] if in_memory else [])
        assert [int(samples[i].inputs[0]) for i in (2, 0, 2)] == [4, 2, 4]
    assert held.decoded == [2, 3, 4]
    assert lazy.decoded == [4, 2, 4]


@pytest.mark.parametrize(("limit", "held"), [(12 * 2 * 3 * 4, True), (12 * 2 * 3 * 4 - 1, False)])
def test_the_memory_limit_is_that_of_all_splits(path, limit, held):
    """Twelve samples of two fields, three sites, four bytes."""
    data = FieldDataModule(path, RampReader(), SPLITS, memory_limit=limit)
    assert {data.dataset(split)._held is not None for split in SPLITS} == {held}


def test_the_memory_of_clouds_is_that_of_the_largest(tmp_path):
    """The first sample has one point of 1000: two coordinates, an input of the two, a target and the mask."""
    fields = {name: StoredField(shape, "1", "") for name, shape in (("p", (1000, 2)), ("u", (1000,)), ("n", ()))}
    with StoreWriter(tmp_path / "clouds.h5", "toy", fields, 4, {}) as writer:
        values = {"p": np.zeros((4, 1000, 2)), "u": np.ones((4, 1000)), "n": np.array([1.0, 1000, 1000, 1000])}
        writer.write(slice(0, 4), values)
    reader = PointsReader(points="p", targets=["u"], num_points="n")
    splits, needed = {"train": [0, 4], "validation": [4, 4], "test": [4, 4]}, 4 * 1000 * (5 * 4 + 1)
    for limit, held in ((needed, True), (needed - 1, False)):
        data = FieldDataModule(tmp_path / "clouds.h5", reader, splits, memory_limit=limit)
        assert (data.dataset("train")._held is not None) == held


def test_the_order_of_training_depends_on_seed_and_epoch_alone(path):
    torch.manual_seed(1)
    first = order(path, epoch=0)
    assert sorted(sum(first, [])) == list(range(7))
    assert [len(batch) for batch in first] == [3, 3, 1]
    torch.manual_seed(2)
    torch.rand(5)
    assert order(path, epoch=0) == order(path, epoch=0, in_memory=False) == first
    others = [order(path, epoch) for epoch in range(1, 6)]
    assert all(sorted(sum(other, [])) == list(range(7)) for other in others)
    assert len({str(other) for other in [first, *others]}) > 3
    assert order(path, epoch=0, seed=1) != first


def test_an_epoch_met_later_has_the_order_of_an_uninterrupted_run(path):
    """What an exact resume needs."""
    loader = FieldDataModule(path, RampReader(), SPLITS, batch_size=3).train_dataloader()
    for epoch in range(4):
        loader.sampler.set_epoch(epoch)
        met = numbers(loader)
    assert order(path, epoch=3) == met


@pytest.mark.parametrize("in_memory", [None, True, False])
def test_training_does_not_open_the_test_split(path, in_memory):
    reader = RampReader()
    data = FieldDataModule(path, reader, SPLITS, batch_size=3, in_memory=in_memory)
    numbers(data.train_dataloader())
    numbers(data.val_dataloader())
    numbers(data.batches("train"))
    assert set(reader.decoded) == set(range(9))
    numbers(data.batches("test"))
    assert set(reader.decoded) == set(range(12))


def test_an_empty_validation_split_gives_no_loader(path):
    for limits in ([7, 7], [0, 0], [3, 3], [12, 12]):
        data = FieldDataModule(path, RampReader(), SPLITS | {"validation": limits}, batch_size=3)
        assert data.val_dataloader() == []
        assert list(data.batches("validation")) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"test": [8, 12]}, r"split test=\[8,12\] shares samples with validation=\[7,9\]"),
        ({"validation": [0, 9], "train": [2, 5]}, r"validation=\[0,9\] shares samples with train=\[2,5\]"),
        ({"test": [9, 13]}, r"test=\[9,13\] reaches beyond the 12 samples of .*store\.h5"),
        ({"train": [3, 3]}, r"split train is empty"),
        ({"test": [12, 9]}, r"split test is \[12, 9\], expected \[first, end\)"),
        ({"test": [-2, 9]}, r"split test is \[-2, 9\]"),
        ({"test": [9]}, r"split test is \[9\]"),
        ({"test": None}, r"split test is None"),
    ],
)
def test_splits_that_do_not_fit_are_named(path, change, named):
    with pytest.raises(InputError, match=named) as caught:
        FieldDataModule(path, RampReader(), SPLITS | change)
    assert caught.value.options == ("splits",)


def test_other_things_that_do_not_fit(path):
    with pytest.raises(OptionError, match="batch_size is 0, expected a whole number of at least 1"):
        check_options(FieldDataModule, {"batch_size": 0})
    with pytest.raises(InputError, match=r"shape \(3, 1\), expected \(4, 1\)"):
        FieldDataModule(path, RampReader(sites=4), SPLITS).train_dataloader()
    reader = RampReader()
    reader.fields = ("slope",)
    with pytest.raises(InputError, match="lacks slope"):
        FieldDataModule(path, reader, SPLITS)


@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_on_the_device_are_those_of_the_loader(path, in_memory):
    """Same order in every epoch, same values to the last bit, last batch smaller; here the device is the CPU."""
    usual = FieldDataModule(path, RampReader(), SPLITS, batch_size=3)
    resident = FieldDataModule(path, RampReader(), SPLITS, batch_size=3, in_memory=in_memory, on_device=True)
    loaders = usual.train_dataloader(), resident.train_dataloader()
    for epoch in (0, 3):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        for expected, found in zip(*loaders, strict=True):
            assert torch.equal(found.inputs, expected.inputs)
            assert torch.equal(found.targets, expected.targets)
    assert numbers(resident.val_dataloader()) == [[7, 8]]
    assert len(loaders[1]) == len(loaders[0]) == 3


class CloudReader(RampReader):
    """Sample ``i`` has one to three points."""

    def describe(self, store):
        line = {"axes": ("point",), "space": 1, "ragged": True}
        return FieldSpec("points", (3,), inputs=(Channel("x"),), targets=(Channel("square"),), **line)

    def decode(self, arrays):
        values = torch.from_numpy(arrays["ramp"][: 1 + int(arrays["ramp"][0]) % 3, None])
        return FieldBatch(values, values**2, values, mask=torch.ones(len(values), dtype=torch.bool))


def test_ragged_clouds_on_the_device_are_padded_as_by_the_loader(path):
    """To the largest of a batch, not of all samples."""
    loaders = [
        FieldDataModule(path, CloudReader(), SPLITS, batch_size=2, on_device=on_device).train_dataloader()
        for on_device in (False, True)
    ]
    widths = []
    for expected, found in zip(*loaders, strict=True):
        for name in ("inputs", "targets", "coords", "mask"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
            assert getattr(found, name).is_contiguous()
        widths.append(found.inputs.shape[1])
    assert min(widths) < max(widths) == 3


def test_samples_on_the_device_are_decoded_once(path):
    reader = RampReader()
    data = FieldDataModule(path, reader, SPLITS, batch_size=3, in_memory=False, on_device=True)
    data.dataset("train")
    reader.decoded.clear()
    for _ in range(3):
        numbers(data.train_dataloader())
    assert reader.decoded == list(range(7))


def test_samples_on_the_device_follow_the_trainer(path):
    data = FieldDataModule(path, RampReader(), SPLITS, batch_size=3, on_device=True)
    root = torch.device("meta")  # the only other device that every machine has
    strategy = type("Strategy", (), {"root_device": root})()
    data.trainer = type("Trainer", (), {"strategy": strategy, "world_size": 1, "global_rank": 0})()
    assert {batch.inputs.device for batch in data.train_dataloader()} == {root}


#: Of a decoded sample: three inputs and three targets in single precision.
BYTES = 24


@pytest.mark.parametrize(
    ("device", "asked", "free", "expected"),
    [
        ("cpu", None, 0, False),
        ("cpu", True, 0, True),
        ("cuda", None, 4 * 9 * BYTES, True),
        ("cuda", None, 4 * 9 * BYTES - 4, False),
        ("cuda", False, 4 * 9 * BYTES, False),
        ("cuda", True, 0, True),
    ],
)
def test_samples_stay_unasked_on_a_gpu_that_has_room(device, asked, free, expected, path, monkeypatch):
    """Seven training and two validation samples may take a quarter of the free memory."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    data = FieldDataModule(path, RampReader(), SPLITS, on_device=asked)
    strategy = type("Strategy", (), {"root_device": torch.device(device)})()
    data.trainer = type("Trainer", (), {"strategy": strategy})()
    assert data.stays_on_device == expected
