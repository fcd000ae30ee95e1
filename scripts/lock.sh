#!/usr/bin/env bash
# Writes requirements.lock (what the service needs) and requirements-dev.lock (that, the extra of training, and the tools
# of `make test`).
# Both hold for every supported Python and platform, carry hashes and name no index, so that any mirror serves them.
# torch and the CUDA packages that it pins itself are left out: scripts/install.sh picks the build for the hardware.
set -euo pipefail
cd "$(dirname "$0")/.."

compile=(.tools/bin/uv pip compile pyproject.toml --universal --python-version 3.10 --generate-hashes --quiet
    --custom-compile-command "make lock" --no-emit-package torch --no-emit-package triton)
for package in cuda-{bindings,pathfinder,toolkit} \
    nvidia-{cublas,cuda-cupti,cuda-nvrtc,cuda-runtime,cudnn-cu13,cufft,cufile,curand,cusolver,cusparse,cusparselt-cu13} \
    nvidia-{nccl-cu13,nvjitlink,nvshmem-cu13,nvtx}; do
    compile+=(--no-emit-package "$package")
done
"${compile[@]}" --extra training --group dev --output-file requirements-dev.lock "$@"
"${compile[@]}" --constraint requirements-dev.lock --no-annotate --output-file requirements.lock "$@"

# The clients that tests run as programs of their own.
.tools/bin/uv pip compile tests/clients/python/requirements.in --universal --python-version 3.10 --generate-hashes \
    --quiet --custom-compile-command "make lock" --no-annotate --output-file tests/clients/python/requirements.lock "$@"

# The peers of benchmarks, which find numpy in the service's own environment, and have whatever they ask for.
.tools/bin/uv pip compile --no-config benchmarks/peers/requirements.in --universal --python-version 3.10 --generate-hashes --quiet \
    --custom-compile-command "make lock" --no-annotate --no-emit-package numpy \
    --output-file benchmarks/peers/requirements.lock "$@"

# What installs all the others, for whatever Python is found.
.tools/bin/uv pip compile scripts/installer.in --universal --python-version 3.8 --generate-hashes --quiet \
    --custom-compile-command "make lock" --no-annotate --output-file scripts/installer.lock "$@"
