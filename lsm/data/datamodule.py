"""Splits of a store and their loaders. Knows no benchmark: a reader defines a sample."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from lsm.data.readers.base import Reader
from lsm.data.store import MAX_SAMPLE_BYTES, Store, require_fields
from lsm.device import numbers_on
from lsm.errors import InputError
from lsm.fields import FieldBatch, FieldSpec
from lsm.registry import Count, Index, Positive

Split = Literal["train", "validation", "test"]


#: Share of a GPU's free memory that samples may take unasked; the training needs the rest.
DEVICE_SHARE = 0.25


class StoredSamples(Dataset[FieldBatch]):
    """A range of a store's samples, decoded on demand or held in memory.

    Its items are single samples: inputs and targets ``(*sites, c)``, in physical units.

    Args:
        path: the store.
        reader: decodes a sample.
        samples: first sample, and one past the last.
        in_memory: decode every sample once, now.
        max_sample_bytes: limit for the store, see :class:`lsm.data.store.Store`.
    """

    def __init__(
        self,
        path: Path,
        reader: Reader,
        samples: tuple[int, int],
        in_memory: bool,
        max_sample_bytes: float = MAX_SAMPLE_BYTES,
    ) -> None:
        self.path, self.reader, self.samples, self._max_sample_bytes = path, reader, samples, max_sample_bytes
        self._opened: tuple[int, Store] | None = None
        self._held = [self._decode(index) for index in range(*samples)] if in_memory else None

    def _decode(self, index: int) -> FieldBatch:
        # An open HDF5 file cannot be handed to a loader's process, forked or not: each process opens its own.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), Store(self.path, self._max_sample_bytes)
        store = self._opened[1]
        return self.reader.decode({name: store.field(name)[index] for name in self.reader.fields})

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        return self.samples[1] - self.samples[0]

    def __getitem__(self, position: int) -> FieldBatch:
        return self._decode(self.samples[0] + position) if self._held is None else self._held[position]


class _ResidentSamples(Dataset[FieldBatch]):
    """Samples held on a device as one batch, from which a list of positions selects a smaller one ``(b, *sites, c)``.

    Ragged clouds are padded to the largest one of those that are selected.

    Args:
        samples: the samples; each is decoded once, now.
        device: the device.
    """

    def __init__(self, samples: StoredSamples, device: torch.device) -> None:
        each = [samples[position] for position in range(len(samples))]
        self._num_points = [len(sample.inputs) for sample in each]
        self._all = FieldBatch.stack(each).to(device)

    def __len__(self) -> int:
        return len(self._all)

    def __getitems__(self, positions: list[int]) -> FieldBatch:
        batch = self._all.select(numbers_on(self._all.inputs.device, positions))
        return batch.cropped(max(self._num_points[position] for position in positions))


def _unchanged(batch: Any) -> Any:
    return batch


class FieldDataModule(pl.LightningDataModule):
    """Training, validation and test samples of one store, in batches ``(b, *sites, c)`` in physical units.

    Args:
        path: the store.
        reader: says which arrays are inputs, coordinates and targets.
        splits: ``[first, end)`` of the samples of "train", "validation" and "test"; an empty validation split is allowed.
        batch_size: samples per batch; the last one may be smaller.
        seed: the order of the training samples depends on it and on the epoch alone.
        in_memory: hold the decoded samples in memory; None decides by ``memory_limit``.
        num_workers: processes that decode samples, for data not held in memory.
        memory_limit: bytes of the decoded samples of all splits together up to which they are held in memory.
        on_device: hold training and validation samples on the trainer's device: the same batches without copies; None: on a GPU
            with much more free memory than they take.
        max_sample_bytes: largest stored size of one sample that is accepted, uncompressed.
    """

    def __init__(
        self,
        path: str | Path,
        reader: Reader,
        splits: Mapping[str, Sequence[int]],
        *,
        batch_size: Count = 20,
        seed: Index = 0,
        in_memory: bool | None = None,
        num_workers: Index = 0,
        memory_limit: Positive = 4e9,
        on_device: bool | None = None,
        max_sample_bytes: Positive = MAX_SAMPLE_BYTES,
    ) -> None:
        super().__init__()
        self.path, self.reader = Path(path), reader
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.in_memory, self.memory_limit, self.on_device = in_memory, memory_limit, on_device
        self.max_sample_bytes = max_sample_bytes
        self._datasets: dict[str, StoredSamples] = {}
        self._resident: dict[str, _ResidentSamples] = {}
        with Store(self.path, max_sample_bytes) as store:
            require_fields(store, reader.fields)
            self.spec: FieldSpec = reader.spec(store)
            self.splits = check_splits(splits, store.num_samples, store.path)
            made = {name: value for name, value in store.provenance.items() if name != "redrawn"}
            self.display = store.display
            self._description: dict[str, Any] = {
                "store": str(self.path),
                "num_samples": store.num_samples,
                "provenance": made,
            }

    def dataset(self, split: Split) -> StoredSamples:
        """The samples ``(*sites, c)`` of one split; read on first use, so that training does not touch the test split."""
        if split not in self._datasets:
            samples = self.splits[split]
            held = self._fits_in_memory if self.in_memory is None else self.in_memory
            dataset = StoredSamples(self.path, self.reader, samples, held, self.max_sample_bytes)
            if len(dataset):
                dataset[0].check(self.spec)
            self._datasets[split] = dataset
        return self._datasets[split]

    def origins(self, split: Split) -> tuple[str, list[int]]:
        """The file that holds the samples of a split, and the number of each in it, counted from 0.

        It is the file of one's own data from which the store was made, else the store.
        """
        first, end = self.splits[split]
        with Store(self.path, self.max_sample_bytes) as store:
            numbers = store.bookkeeping().get("sample")
        if numbers is None:
            return self.path.name, list(range(first, end))
        return self._description["provenance"].get("file", self.path.name), numbers[first:end].tolist()

    def describe(self) -> dict[str, Any]:
        """Which data these are: path, number of samples, and provenance."""
        return deepcopy(self._description)

    @cached_property
    def _fits_in_memory(self) -> bool:
        return sum(map(self._decoded_bytes, self.splits)) <= self.memory_limit

    def _decoded_bytes(self, split: str) -> int:
        """Of a split, whose clouds are counted as if all had as many points as the largest one."""
        first, end = self.splits[split]
        sample = StoredSamples(self.path, self.reader, (0, 1), False, self.max_sample_bytes)[0]
        sample = sample.padded(self.spec.sites[0]) if self.spec.ragged else sample
        return (end - first) * sum(value.nbytes for value in vars(sample).values() if value is not None)

    @property
    def _device(self) -> torch.device:
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @cached_property
    def stays_on_device(self) -> bool:
        """Whether training and validation samples are held on the trainer's device."""
        if self.on_device is not None or self._device.type != "cuda":
            return bool(self.on_device)
        free, _ = torch.cuda.mem_get_info(self._device)
        return self._decoded_bytes("train") + self._decoded_bytes("validation") <= DEVICE_SHARE * free

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation split."""
        return self.splits["validation"][0] < self.splits["validation"][1]

    def _loader(self, split: Split, **kwargs: Any) -> DataLoader[FieldBatch]:
        return DataLoader(
            self.dataset(split),
            batch_size=self.batch_size,
            collate_fn=FieldBatch.stack,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            **kwargs,
        )

    def transfer_batch_to_device(self, batch: FieldBatch, device: torch.device, dataloader_idx: int) -> FieldBatch:
        """A batch ``(b, *sites, c)`` on a device; the copy from pinned memory to a GPU overlaps with computation."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def batches(self, split: Split) -> Iterator[FieldBatch]:
        """Every sample of a split once, in order, as batches ``(b, *sites, c)`` in physical units."""
        yield from self._loader(split)

    def _sampler(self, split: Split, shuffle: bool) -> DistributedSampler[FieldBatch]:
        # Its order is a function of seed and epoch, so that a resumed run sees the batches of an uninterrupted one.
        world, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        return DistributedSampler(self.dataset(split), world, rank, shuffle=shuffle, seed=self.seed)

    def _sampled(self, split: Split, shuffle: bool) -> DataLoader[FieldBatch]:
        sampler = self._sampler(split, shuffle)
        if not self.stays_on_device:
            return self._loader(split, sampler=sampler)
        if split not in self._resident:
            self._resident[split] = _ResidentSamples(self.dataset(split), self._device)
        return DataLoader(self._resident[split], self.batch_size, sampler=sampler, collate_fn=_unchanged)

    def train_dataloader(self) -> DataLoader[FieldBatch]:
        """Training batches ``(b, *sites, c)`` in an order that depends on seed and epoch."""
        return self._sampled("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[FieldBatch] | list[Any]:
        """Validation batches ``(b, *sites, c)`` in the order of the store; an empty list without a validation split."""
        if not self.has_validation:
            return []
        return self._sampled("validation", shuffle=False)


def _are_limits(limits: Any) -> bool:
    pair = isinstance(limits, Sequence) and len(limits) == 2 and all(type(limit) is int for limit in limits)
    return pair and 0 <= limits[0] <= limits[1]


def check_splits(splits: Mapping[str, Sequence[int]], num_samples: int, path: Path) -> dict[str, tuple[int, int]]:
    """Check that splits lie in a store, or in a file that becomes one, and share no sample.

    Args:
        splits: ``[first, end)`` of "train", "validation" and "test".
        num_samples: of the store.
        path: of the store, for messages.
    Returns:
        ``{"train": (first, end), "validation": ..., "test": ...}``.
    Raises:
        InputError: a split is missing, malformed, beyond the store, or overlaps another.
    """
    if problem := _find_problem(splits, num_samples, path):
        raise InputError(f"split {problem}", options=("splits",))
    return {name: (splits[name][0], splits[name][1]) for name in get_args(Split)}


def _find_problem(splits: Mapping[str, Sequence[int]], num_samples: int, path: Path) -> str | None:
    for name in get_args(Split):
        limits = splits.get(name)
        if limits is None or not _are_limits(limits):
            return f"{name} is {limits}, expected [first, end) such as [0,1000]"
        if limits[1] > num_samples:
            beyond = f"{name}=[{limits[0]},{limits[1]}] reaches beyond the {num_samples} samples of {path}"
            return f"{beyond}; generate more samples or choose smaller splits"
    if splits["train"][0] == splits["train"][1]:
        return "train is empty; give it at least one sample"
    for other, name in combinations(get_args(Split), 2):
        (other_first, other_end), (first, end) = splits[other], splits[name]
        if max(first, other_first) < min(end, other_end):
            return f"{name}=[{first},{end}] shares samples with {other}=[{other_first},{other_end}]"
    return None
