"""Where the C++ operators cannot be compiled, or are missing, one screen says what to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import stadx
from stadx.core import devices, native
from stadx.core.errors import NotBuiltError, StadxError

ROOT = Path(__file__).resolve().parents[2]
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
OLD_COMPILER = """#!/bin/sh
for option in "$@"; do
  case $option in -std=*20|-std=*2a) echo "unrecognized command line option '$option'" >&2; exit 1;; esac
done
exec {compiler} -U__GNUC__ -D__GNUC__=7 "$@"
"""
"""GCC 7, in what it says of itself and in what it takes."""


@pytest.fixture
def cmake() -> str:
    """CMake's path."""
    found = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("needs cmake")
    return found


def configure(cmake: str, folder: Path, *options: str, **environment: str) -> str:
    """What CMake says where it must fail, as one line; its own log of what it looked for is not in it."""
    command = [cmake, "-S", str(ROOT), "-B", str(folder / "build"), "-DSKBUILD_PROJECT_VERSION=0", "-DSTADX_CUDA=OFF"]
    result = subprocess.run(
        [*command, *options], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) < 24
    return " ".join(result.stderr.split())


def test_without_a_compiler(cmake: str, tmp_path: Path) -> None:
    ninja = shutil.which("ninja") or shutil.which("make")
    if ninja is None:
        pytest.skip("needs ninja or make")
    os.symlink(ninja, tmp_path / Path(ninja).name)
    generator = "Ninja" if "ninja" in ninja else "Unix Makefiles"
    bare = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
    bare["PATH"] = str(tmp_path)
    result = subprocess.run(
        [cmake, "-G", generator, "-S", str(ROOT), "-B", str(tmp_path / "build"), "-DSKBUILD_PROJECT_VERSION=0"],
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    said = " ".join(result.stderr.split())
    assert result.returncode != 0 and len(result.stderr.splitlines()) < 24
    assert "no working C++ compiler was found. Install GCC 11 or later" in said and "apt-get install g++" in said


def test_with_a_compiler_that_is_not_there(cmake: str, tmp_path: Path) -> None:
    said = configure(cmake, tmp_path, CXX="/nowhere/g++-99")
    assert "no working C++ compiler was found (CXX is '/nowhere/g++-99'). Install" in said


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_with_a_compiler_that_is_too_old(cmake: str, tmp_path: Path) -> None:
    old = tmp_path / "g++-7"
    old.write_text(OLD_COMPILER.format(compiler=shutil.which("g++")))
    old.chmod(0o755)
    said = configure(cmake, tmp_path, CXX=str(old))
    assert "g++-7 (GNU 7." in said and "does not compile C++20. Install GCC 11 or later" in said


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_without_pybind11_and_without_torch(cmake: str, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    python = f"-DPython_EXECUTABLE={tmp_path / 'env' / 'bin' / 'python'}"
    nowhere = "-DCMAKE_DISABLE_FIND_PACKAGE_pybind11=ON"
    assert "pybind11 is not installed for" in configure(cmake, tmp_path, python, nowhere, CXX="g++")

    pybind11 = pytest.importorskip("pybind11")
    found = f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"
    said = configure(cmake, tmp_path, python, found, "-UCMAKE_DISABLE_FIND_PACKAGE_pybind11", CXX="g++")
    assert "torch is not installed for" in said and "pip install 'torch>=2.13'" in said


def test_a_source_tree_says_how_to_compile_it(tmp_path: Path) -> None:
    package = Path(native.__file__).parents[1]
    shutil.copytree(package, tmp_path / "stadx", ignore=shutil.ignore_patterns("*.so", "weights", "__pycache__"))
    code = "import stadx; print(stadx.__version__, issubclass(stadx.DataError, stadx.StadxError)); stadx.Detector"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout == f"{stadx.__version__} True\n"  # what needs no operators works
    said = result.stderr.splitlines()[-1]
    assert f"NotBuiltError: {tmp_path / 'stadx'}: the compiled operators are missing: no _C{SUFFIX} is there." in said
    assert "pip install ." in said
    assert issubclass(NotBuiltError, StadxError)  # of which the command line prints the sentence alone


def test_what_was_built_for_another_python_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_C.cpython-38-x86_64-linux-gnu.so").touch()
    monkeypatch.setattr(native, "_PACKAGE", tmp_path)

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(native, "import_module", missing)
    with pytest.raises(NotBuiltError, match=r"only _C\.cpython-38-x86_64-linux-gnu\.so, for another Python") as raised:
        native.native_module()
    monkeypatch.delitem(sys.modules, "stadx._C")
    monkeypatch.delattr(stadx, "_C")
    assert devices.facts()["native operators"] == str(raised.value)


def test_an_older_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(name: str) -> None:
        raise ImportError("_C.so: undefined symbol: torch_new_shim")

    monkeypatch.setattr(native, "import_module", unresolved)
    with pytest.raises(NotBuiltError, match=r"do not load with PyTorch 2\.\S+\. .*pip install -U 'torch>=2.13'.*shim"):
        native.native_module()
