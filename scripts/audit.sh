#!/usr/bin/env bash
# Looks all that is locked up in the lists of known vulnerabilities that PyPI and npm keep. Fails where one is found, and
# where a list does not answer for a package, as a mirror of an index may not.
set -euo pipefail
cd "$(dirname "$0")/.."

audit=(.tools/bin/uv tool run pip-audit==2.10.1 --strict --disable-pip --progress-spinner off)
status=0
# The development lock holds all of the service's.
for lock in requirements-dev.lock tests/clients/python/requirements.lock benchmarks/peers/requirements.lock; do
    printf '\n== %s\n' "$lock"
    "${audit[@]}" --require-hashes --requirement "$lock" || status=1
done
torch=$(sed -n 's/.*"\(torch==[0-9.]*\)".*/\1/p' pyproject.toml)
printf '\n== %s\n' "$torch"
"${audit[@]}" --no-deps --requirement /dev/stdin <<<"$torch" || status=1

folder=tests/clients/javascript
printf '\n== %s\n' "$folder/package-lock.json"
(cd "$folder" && npm audit --package-lock-only) || status=1
exit $status
