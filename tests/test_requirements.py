import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from launch import set_up

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {
    path.stem.removeprefix("requirements-"): path
    for path in sorted((ROOT / "launch").glob("requirements-*.txt"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TESTED = ["3.11", "3.12", "3.13", "3.14"]


def pins(name, python):
    """Returns {distribution: version} that a lock gives a Linux machine with that Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    versions = {}
    for line in LOCKS[name].read_text().splitlines():
        if line.startswith(("#", " ")):
            continue
        requirement = Requirement(line.removesuffix("\\"))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in versions, f"{requirement.name} is pinned twice"
            versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


def declared(python, *extras):
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    requirements = [Requirement(text) for text in texts]
    environment = {"python_version": python}
    return [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]


def test_there_is_a_lock_for_every_target():
    extras = set(PROJECT["optional-dependencies"])
    assert set(LOCKS) == {"build", "cpu"} | extras
    assert set(set_up.DISK_GB) == {"cpu"} | extras - {"test", *set_up.EXTRAS}


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_only_pins_and_hashes(name):
    pin = r"[a-z0-9.-]+==[a-z0-9.]+( ; [^\\:/]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"# [^\n:]*: [^\n]*\n({pin})+", LOCKS[name].read_text())


@pytest.mark.parametrize("python", TESTED)
@pytest.mark.parametrize("name", sorted(set(LOCKS) - {"build"}))
def test_lock_holds_what_is_declared_and_no_other_framework(name, python):
    versions = pins(name, python)
    for requirement in declared(python, *([name] if name != "cpu" else [])):
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
    framework = re.compile(r"(tensorflow|torch|keras|triton|clu)(-cpu|-gpu|-macos|vision)?")
    assert not [package for package in versions if framework.fullmatch(package)]


@pytest.mark.parametrize("python", TESTED)
@pytest.mark.parametrize("name", LOCKS)
def test_locks_agree_so_that_one_goes_on_top_of_another(name, python):
    versions = pins(name, python)
    common = pins("test", python) | pins("cloud", python)
    assert versions == {package: common.get(package, versions[package]) for package in versions}
    if name != "build":
        assert set(pins("cpu", python)) <= set(versions)


@pytest.mark.parametrize("python", TESTED)
def test_flax_imports_on_this_jax(python):
    versions = pins("cpu", python)
    jax, flax = Version(versions["jax"]), Version(versions["flax"])
    assert versions["jaxlib"] == versions["jax"]
    # jax 0.11 needs Python 3.12; flax before 0.12.10 fails on jax 0.11.1 and later.
    assert jax < Version("0.11") if python == "3.11" else jax >= Version("0.11")
    assert jax < Version("0.11.1") or flax >= Version("0.12.10")


def test_build_lock_builds_the_package():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert [Requirement(text).name for text in build] == ["setuptools"]
    pinned = pins("build", "3.11")
    assert Requirement(build[0]).specifier.contains(pinned["setuptools"])
    assert set(pinned) == {"setuptools", "uv"}  # with uv all else is installed


# The package.


def imported_modules(folder):
    references = ROOT / "tests" / "references"  # never run here, they say what they need
    for path in sorted(set((ROOT / folder).rglob("*.py")) - set(references.iterdir())):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield node.module.split(".")[0]


@pytest.mark.parametrize(
    "folder, extras", [("defect_jax", ()), ("configs", ()), ("tests", ["test"])]
)
def test_every_import_is_declared(folder, extras):
    ours = {"benchmarks", "defect_jax", "configs", "launch"} | {
        path.stem for path in ROOT.glob("tests/*.py")
    }
    modules = set(imported_modules(folder)) - set(sys.stdlib_module_names) - ours
    names = {canonicalize_name(r.name) for r in declared("3.12", *extras)}
    owners = metadata.packages_distributions()
    assert not {m for m in modules if names.isdisjoint(map(canonicalize_name, owners[m]))}


def test_files_beside_the_modules_are_package_data():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        file
        for package, patterns in tool["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    beside = {
        file
        for file in (ROOT / "defect_jax").rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    assert beside == shipped
    assert ROOT / "defect_jax" / "data" / "sources" / "magnetic_tile_protocol.csv" in shipped
