"""Bands around a prediction that hold the truth with a stated probability: split conformal prediction.

The absolute residuals ``r = |prediction - truth|`` of ``n`` calibration samples, which the solver was not trained on, give the
half-width of a band. With ``k = ceil((n + 1) level)``, the k-th smallest of ``n`` scores is exceeded by that of a new sample with
a probability of at most ``1 - level``, whatever the solver and the distribution are, if the new sample and the calibration
samples are exchangeable, such as independent samples of one distribution. Two scores give two kinds of bands:

``site``
    The score at a site is the residual there. At each site, the band holds the truth of a new sample with probability ``level``;
    of the sites of one sample about ``1 - level`` lie outside. Where a mask says which samples have a target at a site, the
    statement is about a new sample that has one there, and ``n`` counts the calibration samples that have one: among all
    samples with a target at the site, the new one is exchangeable with these. If they are too few, ``k > n``, the half-width
    is infinite: the band says nothing at this site. On a point cloud, whose sites have no counterparts in other
    samples, the half-width is the same at all points, and the statement is about a point drawn at random from a new sample:
    each calibration sample has the weight ``1 / (n + 1)``, shared by its points. Points of one sample err together, which can
    raise the probability by up to ``1 / (n + 1)``.
``field``
    The score of a field is the largest scaled residual, ``max_x r(x) / s(x)``, over all sites and, in motion, all frames. The
    band ``+- q s(x)`` holds the whole field of a new sample with probability ``level``, each target field for itself. The scale
    ``s`` is the root mean square of the residuals of training samples, at least :data:`FLOOR` of its own root mean square over
    the sites: it does not depend on the calibration samples, as the guarantee requires. Where a sample has no target, nothing
    can lie outside: the residual counts as zero.

Both statements are about samples of all kinds together: on kinds that are harder than most, a band holds the truth less often. A
validation split that also chose the best checkpoint is not exactly exchangeable with new samples, so the coverage is measured on
the test split: :func:`measure_coverage`.

Sources: Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, Distribution-free predictive inference for regression, JASA 113 (2018);
Diquigiovanni, Fontana, Vantini, Conformal prediction bands for multivariate functional data, J. Multivariate Analysis 189 (2022),
for bands of whole fields; Lee, Barber, Willett, Distribution-free inference with hierarchical data, arXiv 2306.06342, for points
of clouds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy import stats

from lsm.errors import InputError
from lsm.evaluation import Predictor
from lsm.fields import FieldBatch, FieldSpec

Kind = Literal["site", "field"]

#: Probabilities for which bands are made.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

#: Least scale of residuals, in units of the root mean square over all sites: where training residuals vanish, as at a boundary,
#: those of a new sample may not.
FLOOR = 0.1

#: Share of the tests in which a valid band has a coverage within the interval of :func:`expected_coverage`.
CONFIDENCE = 0.95


def rank(level: float, num_samples: int) -> int:
    """Which of the sorted scores of the calibration samples bounds that of a new sample with probability ``level``, from 1.

    A rank above ``num_samples`` means that no finite band has this level.

    Example:
        >>> rank(0.9, 99), rank(0.9, 9), rank(0.95, 9)
        (90, 9, 10)
    """
    return math.ceil(round((num_samples + 1) * level, 9))


def conformal_quantile(scores: np.ndarray, level: float) -> np.ndarray:
    """The score that those of a new sample do not exceed with probability ``level``.

    Args:
        scores: ``(n, ...)``, of the calibration samples; masked (:mod:`numpy.ma`) where a sample has none.
        level: the probability.
    Returns:
        ``(...)``; infinite where too few samples have a score.

    Example:
        >>> float(conformal_quantile(np.array([4.0, 1.0, 3.0, 2.0]), 0.5))
        3.0
    """
    counts = np.ma.count(scores, axis=0)
    place = np.array([rank(level, count) for count in range(len(scores) + 1)])[counts]
    finite = place <= counts
    ordered = np.ma.getdata(np.ma.sort(scores, axis=0))  # masked ones are the last
    found = np.take_along_axis(ordered, np.where(finite, place - 1, 0)[None], axis=0)[0]
    return np.where(finite, found, np.inf).astype(scores.dtype)


def pooled_quantile(scores: Sequence[np.ndarray], level: float) -> np.ndarray:
    """The score that a random one of a new sample does not exceed with probability ``level``.

    Args:
        scores: ``(m, c)`` of each of ``n`` calibration samples, whose ``m`` scores share its weight ``1 / (n + 1)``.
        level: the probability.
    Returns:
        ``(c,)``; infinite if there are too few samples.
    """
    pooled = np.concatenate(scores)
    shares = np.concatenate([np.full(len(each), 1 / (len(each) * (len(scores) + 1))) for each in scores])
    order = pooled.argsort(axis=0)
    # Of equal numbers of scores the sums are multiples of one share, up to rounding.
    place = (shares[order].cumsum(axis=0) < level - 1e-9).sum(axis=0)
    finite = place < len(pooled)
    found = np.take_along_axis(pooled, order, axis=0)[np.where(finite, place, 0), np.arange(pooled.shape[1])]
    return np.where(finite, found, np.inf).astype(pooled.dtype)


def largest_scaled(residuals: np.ndarray, scale: np.ndarray, num_fields: int) -> np.ndarray:
    """The largest ``residual / scale`` of each field over sites and frames.

    Args:
        residuals: ``(n, *sites, c)``, absolute; channels ordered by frame, then by field.
        scale: ``(*sites, c)``, or constant along the sites.
        num_fields: target fields.
    Returns:
        ``(n, num_fields)``.
    """
    ratios = (residuals / scale).reshape(len(residuals), -1, num_fields)
    return ratios.max(axis=1)


def scale_of(squares: np.ndarray, num_fields: int) -> np.ndarray:
    """Scale of residuals from their mean squares ``(*sites, c)`` over training samples, see the module.

    A field that is predicted exactly has the scale 1.
    """
    by_field = squares.reshape(-1, num_fields)
    whole = np.sqrt(by_field.mean(axis=0))
    scale = np.maximum(np.sqrt(by_field), FLOOR * whole)
    return np.where(whole > 0, scale, 1.0).reshape(squares.shape)


def expected_coverage(level: float, calibration: int, tested: int) -> tuple[float, float]:
    """Interval of the share of test samples inside a valid band, for :data:`CONFIDENCE` of the draws of both splits.

    With scores that never tie, the number of test samples inside follows a beta-binomial distribution. The mean over the sites
    of shares of the kind ``site`` varies no more than the share at one site. Where only ``n`` of the calibration samples have a
    target, the share varies more, and its mean is up to ``1 / (n + 1)`` above the level, or 1 if the band is infinite there.

    Args:
        level: probability that the band states.
        calibration: number of calibration samples.
        tested: number of test samples.
    """
    place = rank(level, calibration)
    inside = stats.betabinom(tested, place, calibration + 1 - place)
    low, high = inside.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) / tested
    return float(low), float(high)


@dataclass(frozen=True)
class Band:
    """A band of one level and kind.

    Args:
        level: probability that it states.
        kind: what the probability is about, see the module.
        half_width: ``(*sites, c)``, on a point cloud ``(1, c)``, in units of the fields; infinite where too few calibration
            samples have a target.
        spec: the fields, with the sites of the calibration samples.
        num_samples: calibration samples.
    """

    level: float
    kind: Kind
    half_width: np.ndarray
    spec: FieldSpec
    num_samples: int

    def limits(self, prediction: np.ndarray, exists: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper limit of predictions ``(b, *sites, c)``.

        Args:
            prediction: the predictions.
            exists: ``(b, *sites, 1)``, whether a target exists; where none does, both limits are the prediction. None for
                everywhere.
        Raises:
            InputError: the prediction has other sites than the calibration samples; any number of points serves on a cloud.
        """
        require_same_sites(self.spec, prediction.shape[1:-1])
        width = self.half_width if exists is None else np.where(exists, self.half_width, np.float32(0))
        return prediction - width, prediction + width

    def describe(self) -> dict[str, Any]:
        """Level, kind and number of calibration samples, as plain data."""
        return {"level": self.level, "kind": self.kind, "calibration_samples": self.num_samples}

    def __str__(self) -> str:
        return f"{100 * self.level:g} % band" + (" of the whole field" if self.kind == "field" else " at each site")


def require_same_sites(calibrated: FieldSpec, sites: Sequence[int]) -> None:
    """Check that samples ``(*sites, c)`` have the sites of the calibration samples; any number of points serves on a cloud.

    Raises:
        InputError: they have others.
    """
    if calibrated.geometry != "points" and tuple(sites) != calibrated.sites:
        raise InputError(
            f"the bands were calibrated on {calibrated.sites} sites, the samples have {tuple(sites)}; "
            "calibrate at their resolution, or predict without bands"
        )


@dataclass(frozen=True)
class Bands:
    """Half-widths of bands of several levels.

    Args:
        spec: the fields; ``sites`` are those of the calibration samples.
        levels: probabilities.
        num_samples: calibration samples.
        site: ``(levels, *sites, c)``, half-widths of the kind ``site``; on a point cloud ``(levels, 1, c)``.
        factors: ``(levels, fields)``, half-widths of the kind ``field`` in units of the scale.
        scale: ``(*sites, c)``, on a point cloud ``(1, c)``.
    """

    spec: FieldSpec
    levels: tuple[float, ...]
    num_samples: int
    site: np.ndarray
    factors: np.ndarray
    scale: np.ndarray

    def at(self, level: float, kind: Kind) -> Band:
        """The band of a level and kind, with half-widths ``(*sites, c)``, on a point cloud ``(1, c)``.

        Raises:
            InputError: there is no band of this level or kind.
        """
        if kind not in get_args(Kind):
            raise InputError(f"no band is of kind {kind!r}; choose one of {', '.join(get_args(Kind))}", ("band",))
        if level not in self.levels:
            known = ", ".join(f"{known:g}" for known in self.levels)
            raise InputError(
                f"no band of level {level:g}; with {self.num_samples} calibration samples there are bands of level {known}",
                ("level",),
            )
        place = self.levels.index(level)
        factors = np.tile(self.factors[place], self.scale.shape[-1] // len(self.spec.targets))
        half_width = self.site[place] if kind == "site" else self.scale * factors
        return Band(level, kind, half_width, self.spec, self.num_samples)


@dataclass(frozen=True)
class Coverage:
    """How often bands held the truth of test samples.

    Args:
        levels: probabilities that the bands state.
        site: ``(levels, fields)``, share of the values that exist at all sites (and frames) of all samples that lie inside; on
            clouds the mean of the shares of the samples.
        field: ``(levels, fields)``, share of the samples that lie inside as a whole.
        num_samples: test samples.
        calibration: calibration samples.
    """

    levels: tuple[float, ...]
    site: np.ndarray
    field: np.ndarray
    num_samples: int
    calibration: int

    def expected(self) -> list[tuple[float, float]]:
        """See :func:`expected_coverage`, for each level."""
        return [expected_coverage(level, self.calibration, self.num_samples) for level in self.levels]


def _residuals(predict: Predictor, batch: FieldBatch, spec: FieldSpec, device: torch.device) -> list[np.ndarray]:
    """Absolute residuals ``(*sites, c)`` of each sample, where it has a target.

    Of a cloud, other points are left out; other sites of a lattice or mesh are masked (:mod:`numpy.ma`).
    """
    batch = batch.to(device)
    found = (predict(batch) - batch.targets).abs().cpu().numpy()
    exists = batch.exists(spec)
    if exists is None:
        return list(found)
    known = exists.cpu().numpy() > 0.5
    if spec.geometry == "points":
        return [residual[points[:, 0]] for residual, points in zip(found, known, strict=True)]
    return list(np.ma.masked_array(found, np.broadcast_to(~known, found.shape)))


@torch.inference_mode()
def calibrate(
    predict: Predictor,
    training: Iterable[FieldBatch],
    calibration: Iterable[FieldBatch],
    spec: FieldSpec,
    device: torch.device,
) -> Bands:
    """Bands from the residuals of calibration samples.

    All residuals of the calibration samples are held in memory at once.

    Args:
        predict: fields ``(b, *sites, c)`` in physical units for a batch, in evaluation mode.
        training: samples of the training, for the scale; a few hundred are enough.
        calibration: samples that the training did not use.
        spec: the fields, with the sites of these samples.
        device: where to compute.
    Raises:
        InputError: there are no calibration samples, or a residual is not finite.
    """
    residuals = [residual for batch in calibration for residual in _residuals(predict, batch, spec, device)]
    if not residuals:
        raise InputError("there are no samples to calibrate bands on; train with a validation split")
    whole = [np.ma.filled(residual, 0.0) for residual in residuals]
    if not all(np.isfinite(residual).all() for residual in whole):
        raise InputError("a residual of the calibration samples is not finite; no band can be calibrated")
    levels = tuple(level for level in LEVELS if rank(level, len(residuals)) <= len(residuals))
    num_fields, cloud = len(spec.targets), spec.geometry == "points"
    scale = scale_of(_mean_squares(predict, training, spec, device), num_fields).astype(np.float32)
    scores = np.concatenate([largest_scaled(residual[None], scale, num_fields) for residual in whole])
    if cloud:
        site = np.stack([pooled_quantile(residuals, level) for level in levels])
    else:
        at_sites = np.stack(residuals) if spec.mask is None else np.ma.stack(residuals)
        site = np.stack([conformal_quantile(at_sites, level) for level in levels])
    factors = np.stack([conformal_quantile(scores, level) for level in levels])
    return Bands(spec, levels, len(residuals), site[:, None] if cloud else site, factors, scale)


def _mean_squares(
    predict: Predictor, training: Iterable[FieldBatch], spec: FieldSpec, device: torch.device
) -> np.ndarray:
    """Mean squares ``(*sites, c)`` of the residuals of some samples; of a cloud over its points, ``(1, c)``."""
    total, count, cloud = np.zeros(()), 0, spec.geometry == "points"
    for batch in training:
        for residual in _residuals(predict, batch, spec, device):
            squares = np.ma.filled(residual, 0.0).astype(np.float64) ** 2
            total, count = total + (squares.mean(axis=0, keepdims=True) if cloud else squares), count + 1
    if not count:
        raise InputError("there are no training samples from which to take the scale of the residuals")
    return total / count


@torch.inference_mode()
def measure_coverage(bands: Bands, predict: Predictor, tested: Iterable[FieldBatch], device: torch.device) -> Coverage:
    """How often bands hold the truth ``(b, *sites, c)`` of test samples; arguments as of :func:`calibrate`.

    Raises:
        InputError: there are no samples, or they have other sites.
    """
    site_widths, field_widths = (
        np.stack([bands.at(level, kind).half_width for level in bands.levels]) for kind in get_args(Kind)
    )
    inside: list[np.ndarray] = []
    whole: list[np.ndarray] = []
    weights: list[int] = []
    for batch in tested:
        require_same_sites(bands.spec, batch.targets.shape[1:-1])
        for residual in _residuals(predict, batch, bands.spec, device):
            inside.append(np.ma.filled(_inside(residual, site_widths, bands.spec).mean(axis=1), 0.0))
            whole.append(np.ma.filled(_inside(residual, field_widths, bands.spec).all(axis=1), True))
            weights.append(1 if bands.spec.geometry == "points" else int(np.ma.count(residual)))
    if not any(weights):
        raise InputError("there are no samples on which to measure the coverage")
    site, field = np.average(inside, axis=0, weights=weights), np.mean(whole, axis=0)
    return Coverage(bands.levels, site, field, len(whole), bands.num_samples)


def _inside(residual: np.ndarray, half_widths: np.ndarray, spec: FieldSpec) -> np.ndarray:
    """Whether values lie in bands ``(levels, *sites, c)``: ``(levels, values, fields)``, masked where the residuals are."""
    return (residual <= half_widths).reshape(len(half_widths), -1, len(spec.targets))
