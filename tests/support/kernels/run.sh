#!/usr/bin/env bash
# The torch-free CPU kernels, compiled for a processor and run beside plain loops:
#   tests/support/kernels/run.sh            this one, without its extensions
#   tests/support/kernels/run.sh aarch64    in QEMU: apt-get install g++-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "$0")/../../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
compiler=${CXX:-g++} emulator=()
if [ $# -gt 0 ]; then
  compiler=$1-linux-gnu-g++
  emulator=("qemu-$1" -L "/usr/$1-linux-gnu")
fi
# As in cmake/InstructionSets.cmake, which compiles these for extensions too.
flags=(-std=c++20 -O3 -fno-math-errno -ffp-contract=fast -Wall -Wextra -Icsrc)
for source in csrc/cpu/*_kernel.cpp csrc/cpu/kernel_table.cpp; do
  "$compiler" "${flags[@]}" -DSTADX_ISA=baseline -c "$source" -o "$folder/$(basename "$source").o"
done
"$compiler" "${flags[@]}" tests/support/kernels/*.cpp csrc/cpu/dispatch.cpp "$folder"/*.o -o "$folder/kernels"
"${emulator[@]}" "$folder/kernels"
