"""Instructions that the CPU kernels execute, counted in QEMU. Run `python benchmarks/instructions.py --help`."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["-std=c++20", "-O3", "-fno-math-errno", "-ffp-contract=fast"]  # those of cmake/InstructionSets.cmake
INSTRUCTION = re.compile(r"^0x([0-9a-f]+):\s+(?:[0-9a-f]{8}|(?:[0-9a-f]{2} )+)\s+(\S+)")
BLOCK = re.compile(r"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")


def main(
    target: Annotated[str, typer.Option(help="Processor: aarch64, x86_64 …")] = "aarch64",
    flags: Annotated[str, typer.Option(help="Compiler flags beside the build's own, as -mavx2 -mfma.")] = "",
    csrc: Annotated[Path, typer.Option(help="Sources, to count another version's.")] = ROOT / "csrc",
    only: Annotated[str, typer.Option(help="Parts whose name holds this.")] = "",
    mnemonics: Annotated[int, typer.Option(min=0, help="Commonest instructions to name.")] = 4,
) -> None:
    """Executed instructions per multiply-add, pixel and so on: `apt-get install g++-aarch64-linux-gnu qemu-user`."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder), target, flags.split(), csrc)
        listed = subprocess.run([f"qemu-{target}", program], capture_output=True, text=True, check=True).stdout
        print("| part | per | instructions | commonest |\n|---|---|---|---|")
        for line in listed.splitlines():
            part, units, unit, name = line.split("\t")
            if only not in name:
                continue
            counts = executed(target, program, part, 2)  # the second run alone: what comes before cancels
            counts.subtract(executed(target, program, part, 1))
            each = {name: count / int(units) for name, count in counts.most_common(mnemonics)}
            common = ", ".join(f"{name} {count:.3f}" for name, count in each.items())
            print(f"| {name} | {unit} | {counts.total() / int(units):.3f} | {common} |", flush=True)


def build(folder: Path, target: str, flags: list[str], csrc: Path) -> Path:
    """Compiles `benchmarks/instructions.cpp` with the kernels as the baseline instruction set."""
    command = [f"{target}-linux-gnu-g++", *FLAGS, *flags, f"-I{csrc}"]
    program, objects = folder / "instructions", []
    for source in [*(csrc / "cpu").glob("*_kernel.cpp"), csrc / "cpu" / "kernel_table.cpp"]:
        objects.append(folder / f"{source.stem}.o")
        subprocess.run([*command, "-DSTADX_ISA=baseline", "-c", source, "-o", objects[-1]], check=True)
    own = [ROOT / "benchmarks" / "instructions.cpp", csrc / "cpu" / "dispatch.cpp"]
    subprocess.run([*command, "-DSTADX_ISA=parts", "-static", *own, *objects, "-o", program], check=True)
    return program


def executed(target: str, program: Path, part: str, runs: int) -> Counter[str]:
    """How often each instruction ran, by name."""
    log = program.with_suffix(".log")
    options = ["-d", "in_asm,exec,nochain", "-D", str(log)]
    subprocess.run([f"qemu-{target}", *options, program, part, str(runs)], check=True)
    blocks: Counter[str] = Counter()  # runs of each translated block, by its address
    names: dict[str, list[str]] = {}  # instructions of each
    block: list[str] = []
    with log.open() as lines:
        for line in lines:
            if match := BLOCK.match(line):
                blocks[match[1].lstrip("0")] += 1
            elif line.startswith("IN:"):
                block = []
            elif match := INSTRUCTION.match(line):
                if not block:
                    names[match[1].lstrip("0")] = block
                block.append(match[2])
    counts: Counter[str] = Counter()
    for address, runs_of_block in blocks.items():
        for name in names[address]:
            counts[name] += runs_of_block
    return counts


if __name__ == "__main__":
    typer.run(main)
