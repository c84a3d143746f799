"""The wheel: it holds every configuration and data file, and its commands run where there is no checkout."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import venv
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="no checkout to build from")

#: Files besides code that the packages read or ship, and those that only the repository shows.
DATA = (".npz", ".md", ".npy", ".json", ".yaml", ".jinja")
PICTURES = (".png", ".gif")
RESULTS = "experiments/results/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory) -> Path:
    """Folder of the console scripts of a fresh environment, which shares the packages of this one but not lsm."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=os.name != "nt")
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        binaries / "python",
        "install",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode and "No module named pip" in installed.stderr:
        pytest.skip("this environment has no pip")
    assert installed.returncode == 0, installed.stderr
    packages = next(folder.glob("**/site-packages"))
    # Plain lines are searched after the environment's own packages; links to a checkout within them are not followed.
    (packages / "shared.pth").write_text(
        "\n".join(path for path in (*site.getsitepackages(), site.getusersitepackages()))
    )
    return binaries


def test_every_configuration_and_data_file_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    configurations = {f"lsm/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    data = {
        str(path.relative_to(ROOT))
        for package in ("lsm", "data_prep", "experiments")
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", *DATA) and "__pycache__" not in path.parts
    }
    data = {name for name in data if not name.startswith(RESULTS)}
    assert len(configurations) >= 10
    assert configurations - packed == set()
    assert data - packed == set()
    assert {name for name in packed if name.startswith(("tests/", "shared/", RESULTS))} == set()
    assert {name for name in packed if name.endswith(PICTURES)} == set()
    assert any(name.endswith("licenses/LICENSE") for name in packed)


@pytest.mark.slow
def test_commands_run_from_the_wheel_in_any_folder(wheel, scripts, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        entries = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
        lines = archive.read(entries).decode().splitlines()
    names = [line.partition("=")[0].strip() for line in lines if "=" in line]
    assert len(names) >= 5
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LSM_DATA_DIR")}

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        program = scripts / command[0]
        return subprocess.run(
            [program, *command[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    where = call("python", "-c", "import lsm, data_prep, experiments.app as c; print(lsm.__file__, c.config_dir())")
    assert where.returncode == 0, where.stderr
    for path in where.stdout.split():
        assert Path(path).is_relative_to(scripts.parent), "found in the fresh environment, not in the checkout"
    with ThreadPoolExecutor(2) as pool:
        told = dict(zip(names, pool.map(lambda name: call(name, "--help"), names), strict=True))
    for name, finished in told.items():
        assert finished.returncode == 0, finished.stderr
        assert f"{name} " in finished.stdout.partition("Examples:")[2]
    options = ["benchmark=darcy", "benchmark.generator.resolution=9", "num_samples=2", "workers=1"]
    generated = call("lsm-generate", *options)
    assert generated.returncode == 0, generated.stderr
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["data/darcy.h5"]
