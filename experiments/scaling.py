"""Costs against the number of sites: one model configuration at several sizes of its lattice or cloud, on random fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from experiments.apart import measure_apart
from experiments.processes import CommandFailed, Deadline, OutOfTime
from lsm.errors import InputError
from lsm.files import write_whole
from lsm.progress import console
from lsm.scaling import PowerLaw, fit_power_law

#: What is measured of each size: its name in the files, and where a profile holds it. Times are those of the device.
COSTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "step_seconds": lambda profile: profile["step"]["device_seconds"],
    "latency_seconds": lambda profile: profile["inference"]["latency_device_seconds"],
    "memory_bytes": lambda profile: profile["memory_bytes"],
    "training_flops": lambda profile: profile["flops"]["training_per_sample"],
    "inference_flops": lambda profile: profile["flops"]["inference_per_sample"],
}

#: Unless it is given, sizes from this share of the largest number of sites are fitted: in the plane an eighth of an axis.
_FITTED_SHARE = 1 / 64


@dataclass
class Growth:
    """What was measured of one model.

    Args:
        profiles: of the sizes, smallest first.
        left_out: reason why a size was not measured, by its name.
    """

    profiles: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def num_sites(self) -> list[int]:
        """Number of sites of each profile, ``(n,)``."""
        return [prod(profile["sites"]) for profile in self.profiles]

    def costs(self, name: str) -> list[float | None]:
        """One of :data:`COSTS` of each profile, ``(n,)``; None where it is unknown."""
        return [COSTS[name](profile) for profile in self.profiles]

    def fit(self, name: str, fit_from: float) -> PowerLaw | None:
        """The power law of one of :data:`COSTS`."""
        return fit_power_law(self.num_sites, self.costs(name), fit_from)


def name_of(sites: Sequence[int]) -> str:
    """A size in words, such as ``32x32``."""
    return "x".join(map(str, sites))


def measure_growths(cfg: DictConfig, overrides: Sequence[str]) -> dict[str, Growth]:
    """Measure each model at each of ``sites``, and write ``scaling.json``, ``scaling.csv`` and the picture.

    Raises:
        InputError: nothing could be measured.
    """
    sizes = sorted(map(list, cfg.sites), key=prod)
    models = {model: {"model": model} for model in cfg.compare} if cfg.compare is not None else {cfg.model.name: {}}
    folder = Path(cfg.run_dir)
    growths = {
        model: _measure_growth(overrides, changes, sizes, folder / model, cfg.time_limit)
        for model, changes in models.items()
    }
    if not any(growth.profiles for growth in growths.values()):
        raise InputError(f"none of {', '.join(growths)} could be measured; see the logs in {folder}")
    _write(folder, growths, cfg.fit_from)
    return growths


def _measure_growth(
    overrides: Sequence[str],
    changes: Mapping[str, str],
    sizes: Sequence[Sequence[int]],
    folder: Path,
    time_limit: float | None,
) -> Growth:
    """Measure one model from the smallest size on; a size that fails ends it, since larger ones need more of everything."""
    growth = Growth()
    for index, sites in enumerate(sizes):
        try:
            _require_memory(growth, sites)
            options = {**changes, "sites": f"[{','.join(map(str, sites))}]"}
            profile = measure_apart(overrides, options, folder / name_of(sites), Deadline(time_limit))
            growth.profiles.append(profile)
        except CommandFailed as failure:
            reason = str(failure)
        except OutOfTime:
            reason = f"it takes longer than time_limit={time_limit:g} seconds"
        else:
            continue
        growth.left_out[name_of(sites)] = reason
        growth.left_out |= {name_of(larger): "a smaller size was left out" for larger in sizes[index + 1 :]}
        console.print(
            f"{folder.name} from {name_of(sites)} sites on is left out: {reason}", style="yellow", soft_wrap=True
        )
        break
    return growth


def _require_memory(growth: Growth, sites: Sequence[int]) -> None:
    """Refuse a size that would fill the main memory, which ends programs at random.

    Raises:
        CommandFailed: its expected peak, in proportion to the sites of the size before, exceeds what is available.
    """
    from lsm.process_memory import available_memory

    last = growth.profiles[-1] if growth.profiles else None
    available = available_memory()
    if last is None or last["device"] != "cpu" or last["memory_bytes"] is None or available is None:
        return
    expected = last["memory_bytes"] * prod(sites) / prod(last["sites"])
    if expected > available:
        raise CommandFailed(
            f"it needs about {expected / 2**30:.1f} GiB of memory, {available / 2**30:.1f} GiB are free"
        )


def first_fitted(growths: Mapping[str, Growth], fit_from: float | None) -> float:
    """Number of sites from which sizes are fitted, the same for all models."""
    largest = max(size for growth in growths.values() for size in growth.num_sites)
    return largest * _FITTED_SHARE if fit_from is None else fit_from


def _write(folder: Path, growths: Mapping[str, Growth], fit_from: float | None) -> None:
    from lsm.plotting import save_figure

    least = first_fitted(growths, fit_from)
    content = {"fit_from": least, "models": {name: _describe(growth, least) for name, growth in growths.items()}}
    write_whole(folder / "scaling.json", json.dumps(content, indent=2) + "\n")
    write_whole(folder / "scaling.csv", _to_csv(growths))
    figure = draw(growths, least)
    for suffix in ("png", "pdf"):
        save_figure(figure, folder / f"scaling.{suffix}")


def _describe(growth: Growth, least: float) -> dict[str, Any]:
    fits = {name: growth.fit(name, least) for name in COSTS}
    laws = {name: None if law is None else asdict(law) for name, law in fits.items()}
    return {"power_laws": laws, "left_out": growth.left_out, "profiles": growth.profiles}


def _to_csv(growths: Mapping[str, Growth]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", "sites", "num_sites", "batch_size", *COSTS])
    for model, growth in growths.items():
        for profile in growth.profiles:
            size = name_of(profile["sites"]), prod(profile["sites"]), profile["batch_size"]
            costs = (cost(profile) for cost in COSTS.values())
            table.writerow([model, *size, *("" if value is None else f"{value:.6g}" for value in costs)])
    return text.getvalue()


def draw(growths: Mapping[str, Growth], least: float) -> Any:
    """The picture: time and memory of a training step against the number of sites."""
    from lsm.plotting.scaling import draw_scaling

    first = next(growth.profiles[0] for growth in growths.values() if growth.profiles)
    labels = {"step_seconds": "training step [s]", "memory_bytes": "peak memory [MiB]"}
    units = {"step_seconds": 1.0, "memory_bytes": 2.0**20}
    panels = {}
    for name, label in labels.items():
        panels[label] = {
            model: (growth.num_sites, _in_unit(growth.costs(name), units[name]), growth.fit(name, least))
            for model, growth in growths.items()
            if any(cost is not None for cost in growth.costs(name))
        }
    return draw_scaling(panels, f"{first['benchmark']}, batches of {first['batch_size']}, {first['device']}")


def _in_unit(costs: Sequence[float | None], unit: float) -> list[float | None]:
    return [None if cost is None else cost / unit for cost in costs]
