#!/usr/bin/env bash
# Installs Easel's locked packages into .venv; with --dev also the tools of `make test`. Done before: returns at once.
#   PYTHON=python3.12  the interpreter to start from (any; one outside 3.10-3.13 is replaced by uv's own)
#   TORCH=cpu|cuda     the build of torch; by default cuda where nvidia-smi lists a GPU, else cpu
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
lock=requirements.lock
[ "${1:-}" = --dev ] && lock=requirements-dev.lock
torch=$(sed -n 's/.*"\(torch==[0-9.]*\)".*/\1/p' pyproject.toml)
build=${TORCH:-$(nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)}

# Two installs at once would trip over each other.
if command -v flock >/dev/null; then
    exec 9>.install.lock
    flock 9
fi

stamp=.venv/.installed
wanted="$(cksum <"$lock") $torch $build"
# The development lock holds all of the other, so it serves for both.
dev_wanted="$(cksum <requirements-dev.lock) $torch $build"
if [ -f "$stamp" ] && { [ "$(cat "$stamp")" = "$wanted" ] || [ "$(cat "$stamp")" = "$dev_wanted" ]; }; then
    exit 0
fi
say() { printf '\n== %s\n' "$*"; }

if [ ! -x .tools/bin/uv ]; then
    say "Preparing the installer ($(cat scripts/installer.in))"
    if ! "$python" -m venv .tools; then
        rm -rf .tools
        # Debian and Ubuntu split the venv module's pip out of python3.
        [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || {
            echo "Python's venv module is incomplete. Install it (Debian, Ubuntu: apt-get install python3-venv), then try again." >&2
            exit 1
        }
        apt-get update -qq && apt-get install -y -qq python3-venv
        "$python" -m venv .tools
    fi
    .tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r scripts/installer.lock
fi
if [ ! -x .venv/bin/python ]; then
    supported=$("$python" -c 'import sys; print((3, 10) <= sys.version_info[:2] <= (3, 13))')
    [ "$supported" = True ] || python='>=3.10,<3.14' # uv finds or fetches one
    .tools/bin/uv venv --quiet --python "$python" .venv
fi
# Compiled once here, and not by every replica of the first start.
install=(.tools/bin/uv pip install --python .venv/bin/python --compile-bytecode)
[ -t 1 ] || install+=(--no-progress)

say "Installing the packages of $lock"
"${install[@]}" --no-deps --require-hashes -r "$lock"

say "Installing $torch for $build"
# Both builds satisfy the same version, so the other one has to go first.
if [ -f "$stamp" ] && [ "$(sed 's/.* //' "$stamp")" != "$build" ]; then
    .tools/bin/uv pip uninstall --python .venv/bin/python torch
fi
# The CPU build is ten times smaller. Sources for it, in turn: PyTorch's own index, whatever pip is set up with here,
# and last the default build, which holds the CUDA packages but runs on the CPU as well.
if [ "$build" = cpu ]; then
    "${install[@]}" --torch-backend cpu --no-deps "$torch" 2>/dev/null ||
        .tools/bin/python -m pip --python .venv/bin/python install --disable-pip-version-check --no-deps "$torch+cpu" 2>/dev/null ||
        "${install[@]}" "$torch"
else
    "${install[@]}" "$torch"
fi

# mediapipe, which finds poses, needs these two even without a GPU.
missing=()
if [ "$(uname)" = Linux ]; then
    libraries=$(PATH=$PATH:/sbin ldconfig -p 2>/dev/null || true)
    [[ $libraries == *libEGL.so.1* ]] || missing+=(libegl1)
    [[ $libraries == *libGLESv2.so.2* ]] || missing+=(libgles2)
fi
if [ "${#missing[@]}" -gt 0 ]; then
    say "Installing the system's ${missing[*]}"
    { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq "${missing[@]}"; } || {
        echo "Finding poses needs the libraries EGL and OpenGL ES. Install them" \
            "(Debian, Ubuntu: apt-get install ${missing[*]}); all else works without." >&2
    }
fi
echo "$wanted" >"$stamp"
