"""Builds the GPU's sources for the host, where blocks of threads are fibers, and registers them as operators.

`torch.ops.stadx_simt.<operator>` then runs the very kernels, launchers and checks of the CUDA backend on CPU tensors.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata, util
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
OPERATORS = (
    "phase_pool",
    "ensemble_score",
    "phase_score",
    "label_regions",
    "label_regions_out",
    "defect_pixels",
    "count_above",
    "score_cut",
    "region_sums",
)
ORDERS = {"forward": 0, "reversed": 1, "shuffled": 2}
BASE = ["-std=c++20", "-O1", "-g1", "-fPIC", "-fvisibility=hidden", "-Wno-unknown-pragmas"]
BASE += ["-DSTADX_SIMT", "-DTORCH_TARGET_VERSION=0x020d000000000000"]
UNDEFINED = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
ADDRESS = ["-fsanitize=address", "-fno-omit-frame-pointer"]


def compiler() -> str | None:
    """A C++ compiler, if there is one."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


def build(folder: Path, address: bool = False) -> Path:
    """Compile the library, or give the one that an earlier run compiled from the same sources."""
    spec = util.find_spec("torch")
    assert spec is not None and spec.submodule_search_locations
    torch_dir = Path(spec.submodule_search_locations[0])
    cxx = compiler()
    assert cxx is not None
    kernels, operators = sorted((ROOT / "csrc/cuda").glob("*.cu")), sorted((ROOT / "csrc/ops").glob("*_cuda.cpp"))
    settings = ROOT / "tests/support/simt/settings.cpp"
    flags = [*BASE, *UNDEFINED, *(ADDRESS if address else [])]
    flags += [f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'tests/support/simt'}", "-isystem", str(torch_dir / "include")]
    digest = hashlib.sha256(" ".join([cxx, metadata.version("torch"), *flags]).encode())
    for file in sorted(
        [*kernels, *operators, settings, *(ROOT / "csrc").rglob("*.h"), *(ROOT / "csrc").rglob("*.cuh")]
    ):
        digest.update(file.read_bytes())
    digest.update((ROOT / "tests/support/simt/simt.h").read_bytes())
    library = folder / f"simt-{digest.hexdigest()[:16]}.so"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes, of which one compiles
        if library.exists():
            return library

        def compile_together(sources: list[Path]) -> Path:  # PyTorch's headers are read once
            source = folder / f"{sources[0].stem}.cpp"
            source.write_text("".join(f'#include "{file}"\n' for file in sources))
            target = source.with_suffix(".o")
            _run([cxx, *flags, "-c", str(source), "-o", str(target)])
            return target

        with ThreadPoolExecutor() as pool:
            objects = list(pool.map(compile_together, ([settings], kernels, operators)))
        part = library.with_suffix(".part")
        link = [str(torch_dir / "lib" / "libtorch_cpu.so"), f"-Wl,-rpath,{torch_dir / 'lib'}"]
        _run([cxx, *flags, "-shared", *map(str, objects), "-o", str(part), *link])
        for item in objects:
            item.unlink()
        for old in folder.glob("simt-*.so"):
            old.unlink()
        part.rename(library)
    return library


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]


class Host:
    """The loaded library: in which order threads run, and which barrier is missing."""

    def __init__(self, library: Path) -> None:
        self._schemas = torch.library.Library("stadx_simt", "DEF")
        for name in OPERATORS:
            schema = str(getattr(torch.ops.stadx, name).default._schema)
            self._schemas.define(schema.removeprefix("stadx::"))
        torch.ops.load_library(str(library))
        self._library = ctypes.CDLL(str(library))
        self._library.simt_configure.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_int]

    def configure(self, order: str = "forward", seed: int = 0, removed_barrier: int = 0) -> None:
        """For all launches from now on; `removed_barrier` is a source line, 0 for none."""
        self._library.simt_configure(ORDERS[order], seed, removed_barrier)

    def barriers(self) -> list[int]:
        """Source lines of the barriers reached since the last call."""
        lines = (ctypes.c_int * 64)()
        count = self._library.simt_barriers(lines, 64)
        assert count <= 64
        return list(lines[:count])
