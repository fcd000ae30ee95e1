#!/usr/bin/env bash
# Installs the clients that the tests drive the service with: Python ones into .venv-clients, JavaScript ones, where npm
# is found, beside their programs. Done before: returns at once.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=tests/clients/python/requirements.lock
stamp=.venv-clients/.installed
wanted=$(cksum <"$lock")
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    printf '\n== Installing the packages of %s\n' "$lock"
    .tools/bin/uv venv --quiet --clear --python .venv/bin/python .venv-clients
    .tools/bin/uv pip install --python .venv-clients/bin/python --no-progress --quiet --no-deps --require-hashes -r "$lock"
    echo "$wanted" >"$stamp"
fi

folder=tests/clients/javascript
stamp=$folder/node_modules/.installed
wanted=$(cksum <"$folder/package-lock.json")
if ! command -v npm >/dev/null; then
    echo "npm is not installed: the tests of JavaScript clients will be skipped"
elif [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
    printf '\n== Installing the packages of %s\n' "$folder/package-lock.json"
    (cd "$folder" && npm ci --no-progress --loglevel=error)
    echo "$wanted" >"$stamp"
fi
