"""``lsm-convert``: published files to a store, or a store to published files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from data_prep.published.convert import Layout, PublishedFile, export_files, import_files
from data_prep.published.formats import MatVersion
from experiments.app import command, plain
from experiments.assemble import make_generator, preset_options
from experiments.options import as_option
from lsm.errors import InputError
from lsm.files import require_free
from lsm.progress import console, progress_bar
from lsm.registry import check_value

#: Options of the data that ``lsm-generate`` takes too; the others say what is published, or where the store lies.
_DESCRIBES_DATA = re.compile(r"set=|benchmark\.(?!published\.|sets\.[^.]+\.store=)")


def layout(cfg: DictConfig) -> Layout:
    """The published files of the configured benchmark."""
    from lsm.data.readers.base import make_reader

    published, generator = plain(cfg.benchmark.published), make_generator(cfg)
    return Layout(
        benchmark=cfg.benchmark.name,
        files=tuple(PublishedFile.from_config(file) for file in published["files"]),
        fields=generator.fields,
        required=frozenset(make_reader(plain(cfg.benchmark.reader)).fields),
        ranges=published.get("ranges", {}),
        display=generator.display,
    )


def run(cfg: DictConfig) -> list[str]:
    """Convert in the direction that ``source`` or ``export`` asks for; return what was found or written."""
    if (cfg.source is None) == (cfg.export is None):
        raise InputError(
            "give either source=FOLDER (published files to a store) or export=FOLDER (a store to published files)"
        )
    check_value("mat_version", str(cfg.mat_version), MatVersion)  # typed as a number
    store = Path(cfg.store)
    if cfg.source is not None and not cfg.overwrite:
        require_free(store, remedy="add overwrite=true to replace it, or choose another data_dir")
    with progress_bar() as progress:
        task = progress.add_task(cfg.benchmark.name, total=None)

        def start(total: int) -> None:
            progress.update(task, total=total)

        def advance(count: int) -> None:
            progress.advance(task, count)

        if cfg.source is not None:
            lines = import_files(layout(cfg), Path(cfg.source).expanduser(), store, cfg.strict, start, advance)
            lines.append(f"wrote {store}")
            lines.append(f"compare it with what is published: {_comparison(cfg, store)}")
        else:
            folder = Path(cfg.export).expanduser()
            lines = export_files(
                layout(cfg), store, folder, str(cfg.mat_version), cfg.strict, cfg.overwrite, start, advance
            )
    for line in lines:
        console.print(line, soft_wrap=True)
    return lines


def _comparison(cfg: DictConfig, store: Path) -> str:
    """The call that compares a store with what is published, with the typed options of the data that it takes."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    typed = [option for option in given if _DESCRIBES_DATA.match(option)]
    options = shlex.join([*typed, f"store={as_option(store)}"])
    return f"lsm-generate {preset_options(cfg.benchmark.name, cfg.preset)} {options} check=true"


main = command("convert", run)

if __name__ == "__main__":
    main()
