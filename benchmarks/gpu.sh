#!/usr/bin/env bash
# The first thing to run on a machine with an NVIDIA card, under 8 minutes: builds stadx for the card, runs the tests on
# it, looks for bad accesses and races with compute-sanitizer, and prints the table of timings.
# Usage: benchmarks/gpu.sh [FOLDER]   logs go there, by default ./gpu-report
set -euo pipefail
out=$(realpath -m "${1:-gpu-report}")
cd "$(dirname "$0")/.."

stop() {
  echo "gpu.sh: $*" >&2
  exit 2
}
command -v nvidia-smi > /dev/null || stop "no nvidia-smi: is there a card, and its driver?"
command -v nvcc > /dev/null || stop "no nvcc in PATH: install the CUDA toolkit, version 12.8 or later"
python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
  stop "python3 has no PyTorch that finds the card: pip install 'torch>=2.13' (a CUDA build)"
mkdir -p "$out"
architecture=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv | tee "$out/card.txt"

failed=()
step() { # name, seconds, command…
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  echo "+ $name"
  if timeout "$limit" "$@" > "$out/$name.log" 2>&1; then
    echo "  done in $((SECONDS - start)) s: $(tail -n 1 "$out/$name.log")"
  else
    echo "  FAILED after $((SECONDS - start)) s; see $out/$name.log"
    tail -n 5 "$out/$name.log"
    failed+=("$name")
  fi
}

# The environment sees the installed PyTorch: the build must not fetch another.
python3 -m venv --system-site-packages "$out/venv"
# shellcheck disable=SC1091
source "$out/venv/bin/activate"
export SKBUILD_CMAKE_DEFINE="STADX_CUDA=ON;STADX_CUDA_ARCHITECTURES=$architecture"
step tools 60 pip install -q 'scikit-build-core>=0.11' 'pybind11>=2.13' 'cmake>=3.22' 'ninja>=1.11'
step build 150 pip install -q --no-build-isolation '.[test]'
[ ${#failed[@]} -eq 0 ] || exit 1
step info 30 stadx info
step tests 120 pytest -q -k cuda
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 45 compute-sanitizer --tool "$tool" --error-exitcode 9 \
      python -m pytest -q -x -k 'cuda and (sizes or patterns or region_sums)' tests/test_gpu_kernels.py tests/test_gpu_labels.py
  done
else
  echo "+ compute-sanitizer is not in PATH: skipped"
fi
step resources 60 python benchmarks/gpu_resources.py --arch "$architecture"
step table 120 python benchmarks/gpu.py
cat "$out/table.log"
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all of it passed in $SECONDS s; the logs are in $out"
