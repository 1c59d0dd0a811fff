"""The wheel: built as pip builds it, used outside the repository."""

import configparser
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from programs import ROOT, environment

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds what the wheel installs, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE", "docs/package.md"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("configs", "defect_jax"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=skipped)
    command = [sys.executable, "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def python(installed, folder, *arguments):
    """Run the interpreter of the tests where only the wheel has our modules."""
    ours = {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, *arguments]
    run = subprocess.run(
        command, cwd=folder, env=os.environ | environment() | ours, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_it_holds_all_files_of_the_package_and_nothing_else(installed):
    def files(folder):
        paths = (path for path in folder.rglob("*") if path.is_file())
        names = {str(path.relative_to(folder)) for path in paths}
        return {name for name in names if "__pycache__" not in name}

    inside = files(installed / "defect_jax")
    configs = {f"configs/{name}" for name in files(ROOT / "configs")}
    assert (
        inside == {n for n in files(ROOT / "defect_jax") if not n.startswith("configs/")} | configs
    )
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {
        "defect_jax"
    }


def test_its_command_and_its_page(installed):
    (info,) = installed.glob("*.dist-info")
    scripts = configparser.ConfigParser()
    scripts.read(info / "entry_points.txt")
    assert dict(scripts["console_scripts"]) == {"defect-jax": "defect_jax.__main__:main"}
    page = (info / "METADATA").read_text()
    assert "# defect_jax" in page and "![" not in page and "](docs/" not in page


def test_it_runs_anywhere_with_configs_by_name(installed, tmp_path):
    said = python(installed, tmp_path, "-m", "defect_jax", "check", "--config=synthetic:debug")
    assert said.endswith("synthetic: no fault found\n")
    assert not list(tmp_path.iterdir())


def test_what_a_program_imports_is_typed(installed, tmp_path):
    code = "import defect_jax; print(defect_jax.__file__, defect_jax.load.__doc__)"
    said = python(installed, tmp_path, "-c", code)
    assert said.startswith(str(installed)) and "Restore a trained network" in said
    assert (installed / "defect_jax" / "py.typed").exists()
