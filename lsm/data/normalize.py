"""Normalisation of fields. Statistics are buffers, so a checkpoint contains them and predicts in physical units by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from lsm.errors import InputError
from lsm.fields import every_site

Normalization = Literal["none", "channel", "site"]
CoordinateNormalization = Literal["none", "box"]
CodeNormalization = Literal["none", "channel"]


#: ``[low, high]`` of each channel, by what the channels belong to.
Ranges = dict[str, list[list[float]]]


class RangeMeter:
    """Batches ``(b, ..., c)`` passed on while the smallest and the largest value of each channel is noted."""

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._batches = iter(batches)
        self._low: Tensor | None = None
        self._high: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self._batches:
            low, high = batch.flatten(0, -2).aminmax(dim=0)
            self._low = low if self._low is None else self._low.minimum(low)
            self._high = high if self._high is None else self._high.maximum(high)
            yield batch

    def finish(self) -> list[list[float]]:
        """Read what is left; return ``[low, high]`` of each channel of the batches ``(b, ..., c)``."""
        for _ in self:
            pass
        if self._low is None or self._high is None:
            return []
        return torch.stack([self._low, self._high], dim=-1).tolist()


class Normalizer(nn.Module):
    """Subtract a mean from fields ``(b, *sites, c)`` and divide by a deviation.

    The mean and the deviation are ``(c,)`` per channel, or ``(*sites, c)`` per site, in the units of the fields.

    Args:
        kind: "none" leaves fields unchanged; "channel" has one mean and deviation per channel, over all sites, so that any
            grid can be evaluated; "site" has one for each site and channel, which ties a model to its grid.
        sites: sites along each axis.
        channels: number of channels.

    Example:
        >>> normalizer = Normalizer("channel", sites=(2,), channels=1)
        >>> normalizer.fit([torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])])
        >>> normalizer.mean
        tensor([2.5000])
    """

    mean: Tensor
    deviation: Tensor

    #: Added to every deviation, as published, so that a site that never varies stays finite. Per channel at most a hundredth
    #: of a nonzero deviation is added, since 1e-5 would dominate fields of small numbers, such as displacements in metres.
    floor = 1e-5

    def __init__(self, kind: Normalization, sites: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.kind = kind
        shape = (*sites, channels) if kind == "site" else (channels,)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    @torch.no_grad()
    def fit(self, fields: Iterable[Tensor]) -> None:
        """Compute mean and unbiased standard deviation, in double precision and in one pass.

        Args:
            fields: batches ``(b, *sites, c)``; every training sample once. Fields with a whole fraction of this normaliser's
                channels are the frames of a roll-out, whose statistics all of its frames get.
        """
        if self.kind == "none":
            return
        count, mean, squares = 0, torch.zeros((), dtype=torch.float64), None
        for values in self._rows(fields):
            # Chan's update: the sum of squares about the mean, merged batch by batch.
            batch_mean = values.mean(dim=0)
            batch_squares = (values - batch_mean).square().sum(dim=0)
            shift, total = batch_mean - mean, count + len(values)
            mean = mean + shift * (len(values) / total)
            merged = batch_squares + shift.square() * (count * len(values) / total)
            squares = merged if squares is None else squares + merged
            count = total
        if squares is None or count < 2:
            raise InputError(
                "normalisation needs at least 2 training samples; enlarge the training split, or choose 'none'",
                options=("splits", "normalization"),
            )
        deviation = (squares / (count - 1)).sqrt()
        floor = torch.full_like(deviation, self.floor)
        if self.kind == "channel":
            floor = torch.where(deviation > 0, floor.minimum(0.01 * deviation), floor)
        frames = self.mean.shape[-1] // mean.shape[-1]
        self.mean.copy_(torch.cat([mean] * frames, dim=-1))
        self.deviation.copy_(torch.cat([deviation + floor] * frames, dim=-1))

    def _rows(self, fields: Iterable[Tensor]) -> Iterator[Tensor]:
        """Batches as rows over which to average: ``(rows, *shape of the mean)``."""
        for index, batch in enumerate(fields):
            if not torch.isfinite(batch).all():
                raise InputError(
                    f"batch {index} of the training samples contains values that are not finite; "
                    "the data are damaged: generate or convert them again"
                )
            yield batch.double() if self.kind == "site" else batch.double().flatten(0, -2)

    def of_channels(self) -> tuple[Tensor, Tensor]:
        """Mean of each channel ``(c,)``, and root mean square over the sites of its deviation; 0 and 1 without normalisation."""
        if self.kind != "site":
            return self.mean, self.deviation
        mean, deviation = (values.flatten(0, -2) for values in (self.mean, self.deviation))
        return mean.mean(dim=0), deviation.square().mean(dim=0).sqrt()

    def _check(self, field: Tensor) -> None:
        if self.kind == "site" and field.shape[1:] != self.mean.shape:
            raise InputError(
                f"this model was normalised per site on a grid {tuple(self.mean.shape)} and cannot take one of shape "
                f"{tuple(field.shape[1:])}; train with normalisation by channel",
                options=("normalization",),
            )

    def encode(self, field: Tensor) -> Tensor:
        """Map physical to normalised units, ``(b, *sites, c)``."""
        self._check(field)
        return field if self.kind == "none" else (field - self.mean) / self.deviation

    def decode(self, field: Tensor, stride: int = 1) -> Tensor:
        """Map normalised to physical units, ``(b, *sites, c)``, at every ``stride``-th site along each axis."""
        if self.kind == "none":
            return field
        if self.kind == "site" and stride > 1:
            mean, deviation = (every_site(value[None], stride) for value in (self.mean, self.deviation))
            return field * deviation + mean
        self._check(field)
        return field * self.deviation + self.mean


class BoundingBox(nn.Module):
    """Map coordinates to the unit cube by the bounding box of the training samples, so that no unit of length matters.

    A direction in which no sample extends is only shifted. The low corner and the span of the box are ``(d,)``, in the unit of
    length.

    Args:
        dimensions: number of coordinates.

    Example:
        >>> box = BoundingBox(dimensions=1)
        >>> box.fit([torch.tensor([[[-1.0], [3.0]]])])
        >>> box.encode(torch.tensor([[1.0]]))
        tensor([[0.5000]])
    """

    low: Tensor
    span: Tensor

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(dimensions))
        self.register_buffer("span", torch.ones(dimensions))

    @torch.no_grad()
    def fit(self, coords: Iterable[Tensor]) -> None:
        """Measure the box.

        Args:
            coords: batches ``(b, *sites, d)``; every training sample once.
        """
        corners = [(batch.flatten(0, -2).amin(dim=0), batch.flatten(0, -2).amax(dim=0)) for batch in coords]
        low, high = (torch.stack(ends) for ends in zip(*corners, strict=True))
        span = high.amax(dim=0) - low.amin(dim=0)
        self.low.copy_(low.amin(dim=0))
        self.span.copy_(torch.where(span > 0, span, torch.ones_like(span)))

    def encode(self, coords: Tensor) -> Tensor:
        """Map ``(b, *sites, d)`` in units of length to the unit cube."""
        return (coords - self.low) / self.span
