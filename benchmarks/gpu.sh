#!/usr/bin/env bash
# The first thing to run on a machine with an NVIDIA card, under 8 minutes: builds stadx for the card, runs the tests on
# it, prints the table of timings, and looks for bad accesses and races with compute-sanitizer.
# Usage: benchmarks/gpu.sh [FOLDER]   logs go there, by default ./gpu-report
set -euo pipefail
out=$(realpath -m "${1:-gpu-report}")
cd "$(dirname "$0")/.."

stop() {
  echo "gpu.sh: $*" >&2
  exit 2
}
command -v nvidia-smi > /dev/null || stop "no nvidia-smi: is there a card, and its driver?"
command -v nvcc > /dev/null || stop "no nvcc in PATH: install the CUDA toolkit, version 12.0 or later"
python3 -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
  stop "python3 has no PyTorch that finds the card: pip install 'torch>=2.13' (a CUDA build)"
mkdir -p "$out"
architecture=$(python3 -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())')
nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv | tee "$out/card.txt"

failed=()
summary=()
step() { # name, seconds, command…; no step may pass the eighth minute
  local name=$1 limit=$2 start=$SECONDS left=$((470 - SECONDS)) result=passed
  shift 2
  limit=$((left < limit ? left : limit))
  echo "+ $name"
  if [ "$limit" -lt 1 ]; then
    result="FAILED: no time left"
  elif ! timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1; then
    result="FAILED, see $out/$name.log"
    tail -n 5 "$out/$name.log"
  else
    tail -n 1 "$out/$name.log"
  fi
  [ "$result" = passed ] || failed+=("$name")
  summary+=("$(printf '%4d s  %-9s %s' $((SECONDS - start)) "$name" "$result")")
}
finish() {
  printf '\n'
  [ ! -s "$out/table.log" ] || cat "$out/table.log"
  printf '%s\n' "${summary[@]}" | tee "$out/summary.txt"
  echo "$SECONDS s in all; the logs are in $out"
  [ ${#failed[@]} -eq 0 ] || exit 1
}

# The environment sees the installed PyTorch, also one of another virtual environment: the build must not fetch another.
rm -rf "$out/venv" "$out/table.log"
python3 -m venv --system-site-packages "$out/venv"
python3 -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])' > \
  "$("$out/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth"
# shellcheck disable=SC1091
source "$out/venv/bin/activate"
export SKBUILD_CMAKE_DEFINE="STADX_CUDA=ON;STADX_CUDA_ARCHITECTURES=$architecture"
export CUDAFLAGS=-lineinfo # compute-sanitizer then names lines
# Anew, since programs of another environment need not be in PATH.
step tools 60 pip install -q --ignore-installed 'scikit-build-core>=0.11' 'pybind11>=2.13' 'cmake>=3.26' 'ninja>=1.11'
step build 180 pip install -q --no-build-isolation '.[test]'
[ ${#failed[@]} -eq 0 ] || finish
step info 30 stadx info
step tests 120 python -m pytest -q -k cuda
step table 120 python benchmarks/gpu.py
if command -v compute-sanitizer > /dev/null; then
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1 # or an overrun stays within PyTorch's own blocks
  for tool in memcheck racecheck synccheck; do
    step "$tool" 60 compute-sanitizer --tool "$tool" --report-api-errors no --error-exitcode 9 \
      python -m pytest -q -x -k 'cuda and (sizes or patterns or region_sums)' tests/ops/test_gpu_kernels.py tests/ops/test_gpu_labels.py
  done
else
  echo "+ compute-sanitizer is not in PATH: skipped"
  summary+=("       sanitizer skipped: compute-sanitizer is not in PATH")
fi
step resources 60 python benchmarks/gpu_resources.py --arch "$architecture"
finish
