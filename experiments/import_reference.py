"""``lsm-import``: weights of the public reference code -> a checkpoint."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, open_dict

from experiments.app import command, plain
from experiments.assemble import make_datamodule, make_solver
from experiments.runs import record_of
from lsm.errors import InputError
from lsm.files import require_free
from lsm.progress import console


def run(cfg: DictConfig) -> Path:
    """Import as configured; return the checkpoint.

    Raises:
        FileNotFoundError: a file of weights, or the benchmark's data, is missing.
        InputError: a file holds no state dict, its weights do not fit the model, or the model is another one than LSM.
    """
    from lsm.checkpoint import save
    from lsm.model.latent_spectral.reference import import_state

    if cfg.model.name != "lsm":
        raise InputError(f"model={cfg.model.name} is not in the reference code, whose weights are those of model=lsm")
    source = Path(cfg.checkpoint)
    output = source.with_suffix(".ckpt") if cfg.output is None else Path(cfg.output)
    require_free(output, remedy="choose another file with output=FILE")
    state = _read(source)
    deformation = None if cfg.deformation is None else _read(Path(cfg.deformation))
    if cfg.benchmark.reader.name == "points":
        with open_dict(cfg):
            cfg.model.projection.rows = "reference"
    data = make_datamodule(plain(cfg))
    solver = make_solver(plain(cfg), data)
    import_state(solver.model, state, deformation)
    output.parent.mkdir(parents=True, exist_ok=True)
    save(solver, record_of(cfg, [], {}), output)
    console.print(f"wrote {output}; measure it with `lsm-evaluate checkpoint={output}`", soft_wrap=True)
    return output


def _read(path: Path) -> dict:
    from lsm.checkpoint import load_plain
    from lsm.model.latent_spectral.reference import only_state

    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the file of the reference's weights")
    return only_state(load_plain(path), str(path))


main = command("import", run)

if __name__ == "__main__":
    main()
