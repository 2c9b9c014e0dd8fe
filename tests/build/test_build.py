"""What the native module says about itself, the choice of instruction set, and what it links to."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stadx import _C, ops

ROOT = Path(__file__).resolve().parents[2]
PRINT = "from stadx import ops; print(ops.build_info()['instruction_set'])"


def test_build_info() -> None:
    info = ops.build_info()
    assert info["version"] == importlib.metadata.version("stadx")
    assert info["instruction_set"] in info["instruction_sets"]
    assert info["instruction_sets"][0] == "baseline"
    assert all(architecture.isdigit() for architecture in info["cuda_architectures"])
    assert info["compiler"]
    assert info["torch_built_with"]


@pytest.mark.usefixtures("instruction_set")
def test_instruction_set_can_be_changed(instruction_set: str) -> None:
    assert ops.build_info()["instruction_set"] == instruction_set


def test_unknown_instruction_set_is_named() -> None:
    before = ops.build_info()["instruction_set"]
    with pytest.raises(ValueError, match=r"'mmx' is not available here; choose one of: baseline"):
        ops.set_instruction_set("mmx")
    assert ops.build_info()["instruction_set"] == before


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_environment_chooses_the_instruction_set() -> None:
    assert _run(PRINT, STADX_ISA="baseline").stdout.strip() == "baseline"
    assert _run(PRINT, STADX_ISA="").stdout.strip() == ops.build_info()["instruction_sets"][-1]
    failed = _run(PRINT, STADX_ISA="mmx")
    assert failed.returncode != 0
    assert "ImportError: environment variable STADX_ISA: instruction set 'mmx'" in failed.stderr


@pytest.mark.skipif(
    sys.platform != "linux" or "libgomp" not in Path("/proc/self/maps").read_text(), reason="PyTorch has another OpenMP"
)
def test_threads_that_wait_leave_the_core_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    code = "import stadx; stadx.Detector"
    assert "GOMP_SPINCOUNT = '1000'" in _run(code, OMP_DISPLAY_ENV="verbose").stderr
    assert "GOMP_SPINCOUNT = '7'" in _run(code, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="7").stderr
    assert "GOMP_SPINCOUNT = '1000'" not in _run(code, OMP_DISPLAY_ENV="verbose", OMP_WAIT_POLICY="active").stderr


def test_results_agree_between_instruction_sets() -> None:
    students, teacher, std = torch.randn(3, 1, 128, 20, 33), torch.randn(1, 128, 20, 33), torch.ones(128)
    before = ops.build_info()["instruction_set"]
    results = []
    for name in ops.build_info()["instruction_sets"]:
        ops.set_instruction_set(name)
        results.append(ops.ensemble_score(students, teacher, std * 0, std)[0])
    ops.set_instruction_set(before)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=0)


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("nm") is None, reason="needs Linux and nm")
def test_only_the_stable_interface_of_torch_is_used() -> None:
    assert _C.__file__ is not None
    nm = subprocess.run(["nm", "-DC", "--undefined-only", _C.__file__], capture_output=True, text=True, check=True)
    symbols = [line.split(maxsplit=1)[1] for line in nm.stdout.splitlines()]
    assert any(s.startswith("torch_parallel_for") for s in symbols)
    assert [s for s in symbols if "at::" in s or "c10::" in s or "torch::" in s] == []


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("readelf") is None, reason="needs Linux and readelf")
def test_no_build_path_is_baked_in() -> None:
    assert _C.__file__ is not None
    dynamic = subprocess.run(["readelf", "-d", _C.__file__], capture_output=True, text=True, check=True).stdout
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic
    content = Path(_C.__file__).read_bytes()
    assert str(ROOT).encode() not in content
    assert b"/torch/include" not in content


def _configure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    pybind11 = pytest.importorskip("pybind11")
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if cmake is None:
        pytest.skip("needs cmake")
    return subprocess.run(
        [
            cmake, "-S", str(ROOT), "-B", str(folder), f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", "-DSKBUILD_PROJECT_VERSION=0.0.0", *options,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "works", "message"),
    [
        (["-DSTADX_CUDA=OFF"], True, "CUDA off"),
        (["-DSTADX_CUDA=AUTO", "-DCMAKE_CUDA_COMPILER=NOTFOUND"], True, "no working nvcc was found, CPU only"),
        (["-DSTADX_CUDA=ON", "-DCMAKE_CUDA_COMPILER=NOTFOUND"], False, "no working nvcc was found"),
        (["-DSTADX_CUDA=auto", "-DCMAKE_CUDA_COMPILER=/x/nvcc"], True, "no working nvcc was found, CPU only"),
        (["-DSTADX_CUDA=ON", "-DCMAKE_CUDA_COMPILER=/x/nvcc"], False, "no working nvcc was found"),
        (["-DSTADX_CUDA=MAYBE"], False, "it must be OFF, ON or AUTO"),
    ],
)
def test_cuda_switch_says_what_it_does(tmp_path: Path, options: list[str], works: bool, message: str) -> None:
    result = _configure(tmp_path, *options)
    assert (result.returncode == 0) == works, result.stderr
    assert message in " ".join((result.stdout + result.stderr).split())


needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")


def _configure_cuda(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    result = _configure(folder, *options)
    if "knows no C++20 for nvcc" in result.stdout + result.stderr:
        pytest.skip("needs CMake 3.26")
    return result


@needs_nvcc
@pytest.mark.parametrize(
    ("architectures", "works", "message"),
    [("90", True, "for 90"), ("80,90", True, "for 80,90"), ("12", False, "names 12, which")],
)
def test_cuda_architectures(tmp_path: Path, architectures: str, works: bool, message: str) -> None:
    result = _configure_cuda(tmp_path, "-DSTADX_CUDA=ON", f"-DSTADX_CUDA_ARCHITECTURES={architectures}")
    assert (result.returncode == 0) == works, result.stderr
    assert message in " ".join((result.stdout + result.stderr).split())


@needs_nvcc
@pytest.mark.parametrize(
    ("question", "answer", "mode", "works", "message"),
    [
        ("--list-gpu-code", "sm_80\nsm_86\nsm_89\nsm_90", "AUTO", True, "for 80,86,89,90 "),
        ("--version", "release 11.8, V11.8.89", "AUTO", True, "of CUDA 11.8 knows no C++20; 12.0 does, CPU only"),
        ("--version", "release 11.8, V11.8.89", "ON", False, "of CUDA 11.8 knows no C++20"),
    ],
)
def test_an_older_nvcc_breaks_no_automatic_build(
    tmp_path: Path, question: str, answer: str, mode: str, works: bool, message: str
) -> None:
    older = tmp_path / "nvcc"
    older.write_text(f'#!/bin/sh\n[ "$*" = {question} ] && echo "{answer}" && exit\nexec {shutil.which("nvcc")} "$@"\n')
    older.chmod(0o755)
    result = _configure_cuda(tmp_path / "build", f"-DSTADX_CUDA={mode}", f"-DCMAKE_CUDA_COMPILER={older}")
    assert (result.returncode == 0) == works, result.stderr
    assert message in " ".join((result.stdout + result.stderr).split())


@pytest.mark.skipif(not ops.build_info()["cuda_architectures"], reason="built without CUDA")
@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf")
def test_the_module_needs_neither_driver_nor_toolkit() -> None:
    assert _C.__file__ is not None
    result = subprocess.run(["readelf", "-d", _C.__file__], capture_output=True, text=True, check=True)
    needed = [line for line in result.stdout.splitlines() if "NEEDED" in line]
    assert needed
    assert [line for line in needed if "cuda" in line.lower()] == []
