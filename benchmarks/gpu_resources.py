"""What the compiler makes of every CUDA kernel: registers, shared memory, spills, occupancy, width of accesses."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stadx.cli.console import fail, reported, say

ROOT = Path(__file__).resolve().parents[1]
# A multiprocessor of an H100: registers, threads, blocks, bytes of shared memory; a block takes 1 KiB more of it.
REGISTERS, THREADS, BLOCKS, SHARED = 65536, 2048, 32, 233472
HEADINGS = (
    "kernel", "threads", "registers", "shared, B", "stack, B", "spills, B", "barriers", "occupancy", "loads", "stores",
)  # fmt: skip


@dataclass
class Kernel:
    """One kernel as compiled; `loads` and `stores` count global accesses by their width in bits.

    `spills` are the bytes stored and loaded.
    """

    name: str
    threads: int = 0
    registers: int = 0
    shared: int = 0
    stack: int = 0
    spills: tuple[int, int] = (0, 0)
    barriers: int = 0
    loads: str = ""
    stores: str = ""

    @property
    def occupancy(self) -> float:
        """Share of an H100 multiprocessor's threads that can run at once."""
        if not self.threads or not self.registers:
            return 0.0
        warps = -(-self.threads // 32)
        per_block = -(-self.registers * 32 // 256) * 256 * warps
        blocks = min(REGISTERS // per_block, THREADS // self.threads, BLOCKS, SHARED // (self.shared + 1024))
        return blocks * self.threads / THREADS


def main(
    arch: Annotated[str, typer.Option(help="Architecture: 80, 90, …")] = "90",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Compile the CUDA kernels and list their resources; exit status 1 if any of them spills registers."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        fail("no nvcc in PATH; install the CUDA toolkit")
        raise typer.Exit(2)
    disassembler = _disassembler(nvcc)
    kernels: list[Kernel] = []
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted((ROOT / "csrc/cuda").glob("*.cu")):
            kernels += _compile(nvcc, disassembler, source, arch, Path(folder))
    if markdown:
        print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
        for kernel in kernels:
            print("| `" + "` | ".join([kernel.name, " | ".join(_cells(kernel)[1:])]) + " |")
    else:
        table = Table(*HEADINGS, title=f"sm_{arch}")
        for kernel in kernels:
            table.add_row(*_cells(kernel))
        Console(width=170).print(table)
    if disassembler is None and not markdown:
        say("No nvdisasm in PATH, beside nvcc or in an installed triton: the widths are those of the PTX.")
    if any(any(kernel.spills) for kernel in kernels):
        raise typer.Exit(1)


def _cells(k: Kernel) -> list[str]:
    spills = f"{k.spills[0]} + {k.spills[1]}" if any(k.spills) else "0"
    numbers = map(str, (k.threads, k.registers, k.shared, k.stack))
    return [k.name, *numbers, spills, str(k.barriers), f"{k.occupancy:.0%}", k.loads, k.stores]


def _disassembler(nvcc: str) -> str | None:
    folders = [_toolkit(nvcc)]
    spec = util.find_spec("triton")
    if spec is not None and spec.submodule_search_locations:
        folders.append(Path(spec.submodule_search_locations[0]) / "backends/nvidia/bin")
    found = (shutil.which("nvdisasm", path=folder) for folder in folders)
    return shutil.which("nvdisasm") or next(filter(None, found), None)


def _toolkit(nvcc: str) -> Path:
    """The folder of the real nvcc, which the one in PATH may only start."""
    command = [nvcc, "--dryrun", "-x", "cu", "-E", "/dev/null"]
    steps = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    match = re.search(r"^#\$ _HERE_=(.+)$", steps, re.MULTILINE)
    return Path(match[1]) if match else Path(nvcc).parent


def _compile(nvcc: str, disassembler: str | None, source: Path, arch: str, folder: Path) -> list[Kernel]:
    command = [nvcc, "-std=c++20", "-O3", f"-arch=sm_{arch}", f"-I{ROOT / 'csrc'}", "-Xptxas", "-v", "--keep"]
    cubin = folder / f"{source.stem}.cubin"
    command += ["--keep-dir", str(folder), "-cubin", str(source), "-o", str(cubin)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        fail(f"{source.name} does not compile: {result.stderr.strip()[-2000:]}")
        raise typer.Exit(2)
    ptx = (folder / f"{source.stem}.ptx").read_text()
    kernels: dict[str, Kernel] = {}
    current = Kernel("")
    for line in result.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            current = kernels[match[1]] = Kernel(_short(match[1]))
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            current.stack, current.spills = int(match[1]), (int(match[2]), int(match[3]))
        elif match := re.search(r"Used (\d+) registers", line):
            current.registers = int(match[1])
            for name, what in (("shared", "bytes smem"), ("barriers", "barriers")):
                number = re.search(rf"(\d+) {what}", line)
                setattr(current, name, int(number[1]) if number else 0)
    code = _sass(disassembler, cubin) if disassembler else _by_entry(ptx)
    for symbol, kernel in kernels.items():
        threads = re.search(r"\.maxntid (\d+)", _by_entry(ptx)[symbol])
        kernel.threads = int(threads[1]) if threads else 0
        kernel.loads, kernel.stores = _widths(code[symbol], "LDG", "ld"), _widths(code[symbol], "STG", "st")
    return list(kernels.values())


def _short(symbol: str) -> str:
    filt = shutil.which("c++filt")
    name = subprocess.run([filt, symbol], capture_output=True, text=True, check=True).stdout if filt else symbol
    match = re.search(r"run<(.*)>\(", name)
    return re.sub(r"stadx::(cuda::)?", "", match[1]).strip() if match else symbol


def _by_entry(ptx: str) -> dict[str, str]:
    parts = re.split(r"\.entry (\w+)", ptx)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _sass(disassembler: str, cubin: Path) -> dict[str, str]:
    text = subprocess.run([disassembler, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    parts = re.split(r"\.section\s+\.text\.(\w+)", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _widths(code: str, sass: str, ptx: str) -> str:
    """How many instructions access how many bits, "128 x 6, 32 x 4"."""
    counts: Counter[int] = Counter()
    for suffix in re.findall(rf"\b{sass}\.([\w.]+)", code):
        narrow = re.search(r"\b[US](8|16)\b", suffix)
        wide = re.search(r"\b(64|128|256)\b", suffix)
        counts[int(narrow[1]) if narrow else int(wide[1]) if wide else 32] += 1
    # ld.relaxed.gpu.global.u32, ld.global.nc.L1::no_allocate.v4.b32, …
    for suffix in re.findall(rf"\b{ptx}\.(?:\w+\.)*?global\.([\w.:]+)", code):
        vector, bits = re.search(r"\bv(\d)\b", suffix), re.search(r"\.?[a-z](\d+)$", suffix)
        counts[int(bits[1]) * int(vector[1] if vector else 1) if bits else 32] += 1
    return ", ".join(f"{bits} x {n}" for bits, n in sorted(counts.items(), reverse=True)) or "–"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
app.command(epilog="Example: [bold]python benchmarks/gpu_resources.py --arch 90[/bold]")(reported()(main))

if __name__ == "__main__":
    app()
