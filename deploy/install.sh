#!/bin/sh
# `make install`. Safe to repeat, also while the daemon runs: that is the upgrade.
#
#   $PREFIX/releases/NAME     the program, one release per installation
#   $PREFIX/venvs/HASH        its packages; new when requirements.lock or Python changes
#   $PREFIX/browser/HASH      browser packages from npm; new when package-lock.json changes
#   $PREFIX/current           the release that starts next; switched in one step at the end
#   $PREFIX/bin/twitterstream the command
#   $SYSCONFDIR/config.yaml   created once from the sample, then never changed
#
# Variables: PREFIX SYSCONFDIR STATEDIR UNITDIR DESTDIR PYTHON; INSTALL_VENV: an existing
# virtual environment to use; USERADD=no: create no account.
set -eu
umask 022
cd "$(dirname "$0")/.."

account=twitterstream
root=$DESTDIR$PREFIX
config=$SYSCONFDIR/config.yaml
fail() { echo "make install: $*" >&2; exit 1; }

for path in "$PREFIX" "$SYSCONFDIR" "$STATEDIR" "$UNITDIR" "${DESTDIR:-/}"; do
  case $path in
    *[!A-Za-z0-9_./+-]*) fail "$path contains a character that systemd or a shell cannot handle" ;;
    /*) ;;
    *) fail "$path must begin with a slash" ;;
  esac
done

# The running system gets an account for the daemon; a staged one (DESTDIR) does not.
if [ "$(id -u)" = 0 ] && [ -z "$DESTDIR" ] && [ "$USERADD" = yes ]; then
  if ! id -u "$account" >/dev/null 2>&1; then
    useradd --system --user-group --home-dir "$STATEDIR" --no-create-home \
      --shell /usr/sbin/nologin "$account"
  fi
  own=yes
else
  own=
fi

# -- the packages

mkdir -p "$root/releases" "$root/venvs" "$root/browser" "$root/bin"
if [ -n "${INSTALL_VENV:-}" ]; then
  [ -x "$INSTALL_VENV/bin/python" ] && [ -e "$INSTALL_VENV/pyvenv.cfg" ] ||
    fail "INSTALL_VENV=$INSTALL_VENV is not a virtual environment"
  venv=$INSTALL_VENV
else
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$PYTHON is not Python 3.11 or newer"
  # The unit has ProtectHome=yes, and its account cannot enter home directories.
  case $("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys._base_executable))') in
    "${HOME:-/home}"/* | /home/*) [ -z "$own" ] ||
      fail "$PYTHON is in a home directory, which the service cannot read: use PYTHON=/usr/bin/python3" ;;
  esac
  hash=$({ cat requirements.lock; "$PYTHON" -VV; command -v "$PYTHON"; } | sha256sum | cut -c1-16)
  venv=../../venvs/$hash
  if [ ! -d "$root/venvs/$hash" ]; then
    echo "Installing requirements.lock into $root/venvs/$hash ..."
    rm -rf "$root/venvs/$hash.new"
    "$PYTHON" -m venv "$root/venvs/$hash.new"
    "$root/venvs/$hash.new/bin/python" -m pip install --quiet --disable-pip-version-check \
      --no-input --root-user-action=ignore --require-hashes --requirement requirements.lock
    mv -T "$root/venvs/$hash.new" "$root/venvs/$hash"
  fi
fi

# Reuse what `make run` or `make test` installed if it matches the lock, without test packages.
browser=$(sha256sum web/package-lock.json | cut -c1-16)
if [ ! -d "$root/browser/$browser" ]; then
  rm -rf "$root/browser/$browser.new"
  mkdir "$root/browser/$browser.new"
  if [ web/node_modules/.package-lock.json -nt web/package-lock.json ]; then
    tar -c --exclude=axe-core -C web node_modules |
      tar -x --no-same-owner -C "$root/browser/$browser.new"
  else
    echo "Installing web/package-lock.json into $root/browser/$browser ..."
    cp web/package.json web/package-lock.json "$root/browser/$browser.new"
    PYTHON=$PYTHON sh web/npm.sh "$root/browser/$browser.new"
  fi
  chmod -R u=rwX,go=rX "$root/browser/$browser.new"
  mv -T "$root/browser/$browser.new" "$root/browser/$browser"
fi

# -- the program, next to the running one

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' stream/__init__.py)
release=$version-$(date -u +%Y%m%dT%H%M%S)-$$
mkdir "$root/releases/$release.new"
trap 'rm -rf "$root/releases/$release.new"' EXIT
tar -c --exclude=__pycache__ --exclude=node_modules --exclude=screenshots \
  twitterstream.py composition.py stream monitor web simulator sql deploy docs \
  config.yaml.sample requirements.lock README.md CHANGELOG.md |
  tar -x --no-same-owner -C "$root/releases/$release.new"
chmod -R u=rwX,go=rX "$root/releases/$release.new"
ln -s "$venv" "$root/releases/$release.new/.venv"
ln -s "../../../browser/$browser/node_modules" "$root/releases/$release.new/web/node_modules"
python=$root/releases/$release.new/.venv/bin/python
"$python" -m compileall -q -s "$root/releases/$release.new" -p "$PREFIX/releases/$release" \
  "$root/releases/$release.new"
# The list of all commands imports all modules.
"$python" "$root/releases/$release.new/twitterstream.py" --help >/dev/null ||
  fail "the program does not start"
mv -T "$root/releases/$release.new" "$root/releases/$release"

# -- the settings

mkdir -p "$DESTDIR$SYSCONFDIR"
made=
if [ ! -e "$DESTDIR$config" ]; then
  made=yes
  (
    umask 077
    sed "s|^#data_dir: data\$|data_dir: $STATEDIR|" config.yaml.sample >"$DESTDIR$config.new"
  )
  if [ -n "$own" ]; then
    chown "root:$account" "$DESTDIR$config.new"
    chmod 0640 "$DESTDIR$config.new"
  fi
  mv "$DESTDIR$config.new" "$DESTDIR$config"
fi
if [ -n "$own" ]; then
  install -d -o "$account" -g "$account" -m 0700 "$STATEDIR"
fi

# -- the command, the unit, and the switch

put() { # FROM TO MODE: in place in one step, with the paths of this installation
  sed -e "s|/opt/twitterstream|$PREFIX|g" -e "s|/etc/twitterstream|$SYSCONFDIR|g" \
    -e "s|/var/lib/twitterstream|$STATEDIR|g" "$1" >"$2.new"
  chmod "$3" "$2.new"
  mv -T "$2.new" "$2"
}
put deploy/twitterstream.sh "$root/bin/twitterstream" 0755
mkdir -p "$DESTDIR$UNITDIR"
put deploy/twitterstream.service "$DESTDIR$UNITDIR/twitterstream.service" 0644
put deploy/twitterstream.service "$DESTDIR$UNITDIR/twitterstream@.service" 0644
put deploy/twitterstream-web.service "$DESTDIR$UNITDIR/twitterstream-web.service" 0644
put deploy/cluster/twitterstream-role@.service "$DESTDIR$UNITDIR/twitterstream-role@.service" 0644

before=$(readlink "$root/current" || true)
ln -sfn "releases/$release" "$root/current.new"
mv -T "$root/current.new" "$root/current"

if [ -n "$own" ] && [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi

# -- next steps

echo "twitterstream $version is in $root; settings in $DESTDIR$config."
if [ -n "$before" ]; then
  echo "The previous release, $root/$before, stays until you remove it."
  echo "A running daemon keeps its release. To switch (details in deploy/README.md):"
  echo "    $PREFIX/bin/twitterstream migrate"
  echo "    systemctl try-restart twitterstream twitterstream-web 'twitterstream-role@*'     # those that run"
else
  [ -z "$made" ] || echo "Review the settings first; \`database\` is where tweets are stored."
  echo "Next:"
  echo "    $PREFIX/bin/twitterstream check-config"
  echo "    $PREFIX/bin/twitterstream migrate"
  echo "    echo 'bearer_token: YOURS' | $PREFIX/bin/twitterstream source add x --network x_v2 --secrets -"
  echo "    systemctl enable --now twitterstream twitterstream-web"
  echo "    systemctl status twitterstream"
  echo "    journalctl -u twitterstream-web     # one-time link for the first admin"
fi
[ -n "$own" ] || echo "The unit needs an account: useradd --system --user-group $account"
