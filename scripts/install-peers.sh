#!/usr/bin/env bash
# Installs the servers that benchmarks/serving.py measures Easel against into .venv-peers, which also sees whatever is in
# .venv, so that all sides paint with the same torch and diffusers. Done before: returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=benchmarks/peers/requirements.lock
stamp=.venv-peers/.installed
wanted=$(cksum <"$lock"; .venv/bin/python -c 'import sys; print(sys.version, sys.prefix)')
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    printf '\n== Installing the packages of %s\n' "$lock"
    .tools/bin/uv venv --quiet --clear --python .venv/bin/python .venv-peers
    .tools/bin/uv pip install --python .venv-peers/bin/python --no-progress --quiet --no-deps --require-hashes -r "$lock"
    folder='import sysconfig; print(sysconfig.get_path("purelib"))'
    .venv/bin/python -c "$folder" >"$(.venv-peers/bin/python -c "$folder")/easel.pth"
    echo "$wanted" >"$stamp"
fi
