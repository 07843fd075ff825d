"""What an installation gets: the flat folders as `segsweep`, all of them, and nothing beside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wheels import build

ROOT = Path(__file__).parents[1]
FOLDERS = ("orchestrator", "trainables")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
VERSION = PYPROJECT["project"]["version"]


def package_files(source: Path, suffix: str = "") -> set[PurePosixPath]:
    """Every file of the package, as it is called once installed."""
    return {
        PurePosixPath("segsweep", path.relative_to(source).as_posix())
        for folder in FOLDERS
        for path in (source / folder).rglob(f"*{suffix}")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs: builds leave build/ and *.egg-info behind, which belong to no checkout."""
    copy = tmp_path_factory.mktemp("source it's")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("dist"))


def names(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return {PurePosixPath(name) for name in archive.namelist()}


def test_constraints_pin_every_declared_dependency() -> None:
    lines = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))
    pins = dict(line.split("==") for line in lines)
    project = PYPROJECT["project"]
    for declared in map(Requirement, project["dependencies"] + project["optional-dependencies"]["dev"]):
        assert pins[canonicalize_name(declared.name)] in declared.specifier, declared


def test_every_folder_with_code_is_a_listed_package(source: Path) -> None:
    folders = {".".join(path.parent.parts) for path in package_files(source, ".py")}
    assert sorted(SETUPTOOLS["packages"]) == sorted(folders)


def test_every_folder_with_code_has_an_init_file(source: Path) -> None:
    files = package_files(source, ".py")
    assert {path.parent for path in files} == {path.parent for path in files if path.name == "__init__.py"}


def test_wheel_holds_every_file_of_the_package(source: Path, wheel: Path) -> None:
    assert {path for path in names(wheel) if path.parts[0] == "segsweep"} == package_files(source)


def test_sdist_is_enough_to_build_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", source, tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert names(build("wheel", unpacked, tmp_path)) == names(wheel)


def test_installing_the_wheel_gives_the_command_and_only_segsweep(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "clean it's"
    venv.create(environment, with_pip=False)
    python = environment / "bin/python"
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    (site_packages,) = environment.glob("lib/python*/site-packages")
    assert {path.name for path in site_packages.iterdir()} == {"segsweep", f"segsweep-{VERSION}.dist-info"}

    # The libraries are taken from this environment; its own editable segsweep is not seen through a .pth file.
    (site_packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    command = [str(environment / "bin/segsweep"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"segsweep, version {VERSION}\n"), done.stderr


@pytest.mark.parametrize("line", ["import trainables", "import orchestrator.cli", "from trainables.losses import dice"])
def test_ruff_refuses_the_bare_names(line: str) -> None:
    assert "TID251" in ruff(line)


def test_ruff_accepts_the_real_name() -> None:
    assert "TID251" not in ruff("from segsweep.trainables.losses import dice")


def ruff(line: str) -> str:
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename", "tests/test_anything.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=line + "\n", capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout
