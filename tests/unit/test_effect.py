"""Options without effect are refused, those with one are not."""

from __future__ import annotations

import re

import pytest

from experiments.effect import READ, READ_INSTEAD, READ_WITH, lies_in
from experiments.schema import SCHEMAS, schema_of
from lsm.errors import InputError

TRAIN = ("train", "benchmark=darcy", "preset=quick")
OWN = ("train", "benchmark=custom", "data.file=x.npz")
GENERATE = ("generate", "benchmark=darcy", "preset=quick")
CONVERT = ("convert", "benchmark=darcy", "preset=quick")


@pytest.fixture
def check(command, monkeypatch):
    """``check(name, *options)``: the checks of a command before it runs."""
    for name in SCHEMAS:
        monkeypatch.setitem(command.__globals__["RUNS"], name, lambda cfg: None)
    return command


@pytest.mark.parametrize("name", READ)
def test_every_option_of_a_command_is_read(name):
    """One that is missing in the list would always be refused."""
    conditional = [key for _, keys in READ_WITH.get(name, ()) for key in keys]
    conditional += [key for keys in READ_INSTEAD.get(name, {}).values() for key in keys]
    own = set(schema_of(name)) - {"data_dir"}  # paths refer to it
    assert all(lies_in(option, [*READ[name], *conditional]) for option in own)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((*TRAIN, "sizes.lsm.width=3"), "has no effect on lsm-train; set model.OPTION"),
        ((*TRAIN, "sizes.fno.width=3"), "has no effect on lsm-train; set model.OPTION"),
        ((*TRAIN, "benchmark.generator.low=2"), "has no effect on lsm-train; give it to lsm-generate"),
        ((*TRAIN, "~benchmark.generator"), "has no effect on lsm-train; give it to lsm-generate"),
        ((*TRAIN, "benchmark.published.ranges.pressure=[0,1]"), "has no effect on lsm-train; give it to lsm-convert"),
        ((*TRAIN, "benchmark.sets.full.num_samples=9"), "has no effect on lsm-train with set=quick"),
        ((*TRAIN, "benchmark.sets.quick.num_samples=9"), "has no effect on lsm-train with these options"),
        ((*TRAIN, "benchmark.sets.quick.solver_resolution=25"), "has no effect on lsm-train with these options"),
        ((*TRAIN, "data_dir=here", "data.path=there.h5"), "has no effect on lsm-train with these options"),
        ((*TRAIN, "+nonsense=1"), "has no effect on lsm-train"),
        ((*TRAIN, "+benchmark.nonsense=1"), "has no effect on lsm-train"),
        ((*GENERATE, "benchmark.symmetries=[]"), "has no effect on lsm-generate; give it to lsm-train"),
        ((*GENERATE, "benchmark.sets.quick.resolution=13"), "has no effect on lsm-generate"),
        ((*GENERATE, "benchmark.sets.quick.splits.test=[0,1]"), "has no effect on lsm-generate"),
        ((*GENERATE, "benchmark.reader.resolution=13"), "has no effect on lsm-generate"),
        ((*GENERATE, "check_samples=3"), "has no effect on lsm-generate; add check=true"),
        ((*GENERATE, "data_dir=here", "store=there.h5"), "has no effect on lsm-generate"),
        ((*GENERATE, "+nonsense=1"), "has no effect on lsm-generate"),
        (("generate", "benchmark=darcy", "preset=own"), "preset=own is for training on your own data"),
        ((*CONVERT, "benchmark.sets.quick.num_samples=9"), "has no effect on lsm-convert"),
        ((*CONVERT, "benchmark.symmetries=[]"), "has no effect on lsm-convert; give it to lsm-train"),
        ((*CONVERT, "source=here", "mat_version=5"), "has no effect on lsm-convert; add export=FOLDER"),
        (("visualize", "checkpoint=x", "animation=mp4"), "has no effect on lsm-visualize; add animate=true"),
        (("visualize", "checkpoint=x", "band=site"), "has no effect on lsm-visualize; add level="),
        (("visualize", "checkpoint=x", "gallery_dpi=9"), "has no effect on lsm-visualize; add what=gallery"),
        (
            ("visualize", "checkpoint=x", "format=vtk", "curve=false"),
            "has no effect on lsm-visualize with these options",
        ),
        (("visualize", "checkpoint=x", "what=errors", "samples=[0]"), "has no effect on lsm-visualize"),
        (("predict", "checkpoint=x", "band=site", "input=a", "output=b"), "has no effect on lsm-predict; add level="),
        (("predict", "checkpoint=x", "template=a", "output=b"), "has no effect on lsm-predict with these options"),
        (("profile", "benchmark=darcy", "sites=[64,64]", "fit_from=9"), "has no effect on lsm-profile; give several"),
        (
            ("profile", "benchmark=darcy", "recipe=modern", "callbacks.average.decay=0.5"),
            "has no effect on lsm-profile",
        ),
        (("profile", "benchmark=darcy", "logger.csv.name=numbers"), "has no effect on lsm-profile"),
        (("profile", "benchmark=darcy", "checkpoint_interval=60"), "has no effect on lsm-profile with these options"),
        (("profile", "benchmark=darcy", "batch_norm_batches=9"), "has no effect on lsm-profile"),
        (
            ("profile", "benchmark=darcy", "recipe=modern", "trainer.gradient_clip_val=9"),
            "has no effect on lsm-profile",
        ),
        (("evaluate", "checkpoint=x", "+nonsense=1"), "has no effect on lsm-evaluate"),
        (("table", "table=tiny", "+nonsense=1"), "has no effect on lsm-table"),
        (("import", "checkpoint=x", "optimizer.lr=1"), "has no effect on lsm-import"),
        (
            (*OWN, "data.splits.train=[0,5]", "data.fractions=[0.5,0.25,0.25]"),
            "with data.splits; leave one of them out",
        ),
        (
            (*OWN, "data.split_seed=3", "data.splits.train=[0,5]"),
            "has no effect on lsm-train with data.splits; leave one",
        ),
    ],
)
def test_an_option_without_effect_is_refused(options, told, check):
    with pytest.raises(InputError, match=re.escape(told)) as caught:
        check(*options)
    assert any(str(caught.value).startswith(f"{option} ") for option in options)


@pytest.mark.parametrize(
    "options",
    [
        (*TRAIN, "seed=0", "data_dir=data", "run_dir=run", "metrics=[rmse]", "plugins=[]", "time_limit=3"),
        (*TRAIN, "benchmark.sets.quick.resolution=22", "benchmark.sets.quick.splits.test=[0,1]", "set=quick"),
        (*TRAIN, "benchmark.sets.quick.resolution=null", "benchmark.sets.quick.store=other"),
        (*TRAIN, "set=full", "benchmark.sets.full.resolution=141"),
        (*OWN, "data.split_seed=3", "data.fractions=[0.5,0.25,0.25]"),
        (*OWN, "data.splits={train:[0,5],validation:[5,6],test:[6,7]}"),
        (*TRAIN, "model=fno", "model.modes=4", "loss=relative_h1", "logger.csv.name=numbers", "~callbacks.progress"),
        (*TRAIN, "+trainer.fast_dev_run=true", "optimizer.lr=1", "data={batch_size: 3}", "augmentation=symmetry"),
        (*GENERATE, "benchmark.sets.quick.solver_resolution=25", "benchmark.generator.low=2", "data_dir=here"),
        (*GENERATE, "check=true", "check_samples=3", "benchmark.reader.resolution=13", "num_samples=4", "workers=1"),
        ("generate", "benchmark=navier_stokes", "benchmark.sets.full.viscosity=1e-4", "device=cuda", "batch_size=3"),
        (*CONVERT, "export=here", "mat_version=5", "strict=false", "overwrite=true", "store=there.h5"),
        (*CONVERT, "source=here", "benchmark.sets.quick.store=other", "benchmark.published.ranges.pressure=[0,1]"),
        ("evaluate", "checkpoint=x", "store=y", "data_dir=z", "metrics=[rmse]", "transforms=[symmetry_average]"),
        ("visualize", "checkpoint=x", "samples=[0]", "curve=false", "level=0.9", "band=site", "dpi=9"),
        ("visualize", "checkpoint=x", "animate=true", "animation=mp4", "animation_dpi=9"),
        ("visualize", "checkpoint=x", "what=gallery", "gallery_dpi=9", "samples=[0]", "level=0.9"),
        ("predict", "checkpoint=x", "template=a", "overwrite=true"),
        ("predict", "checkpoint=x", "input=a", "output=b", "level=0.9", "band=site"),
        ("profile", "benchmark=darcy", "sites=[[64,64],[128,128]]", "fit_from=9", "time_limit=9"),
        ("profile", "benchmark=pipe", "trainer.precision=bf16-mixed", "compare=[lsm,fno]", "data.batch_size=3"),
        (
            "profile",
            "benchmark=darcy",
            "recipe=modern",
            "for_table=true",
            "~callbacks.average",
            "checkpoint_interval=60",
        ),
        ("profile", "benchmark=darcy", "for_table=true", "trainer.max_epochs=3", "trainer.precision=32-true"),
        ("table", "table=tiny", "seeds=2", "table.caption=mine", 'options=["seed=1"]'),
        ("import", "checkpoint=x", "model.width=3", "data_dir=here", "benchmark=pipe", "output=y"),
    ],
)
def test_options_with_effect_are_taken(options, check):
    check(*options)
