#!/bin/sh
# The command of an installation. Everything below `current` is named once, so that an upgrade in
# this very moment does not mix two releases.
here=$(readlink -f /opt/twitterstream/current) || exit 1
config=/etc/twitterstream/config.yaml

# Given by root, a command runs as the account of the daemon: a file of root's in its folder would
# be one that the daemon cannot write to.
if [ "$(id -u)" = 0 ] && id -u twitterstream >/dev/null 2>&1; then
  export HOME=/var/lib/twitterstream
  exec setpriv --reuid=twitterstream --regid=twitterstream --init-groups --inh-caps=-all -- \
    "$0" "$@"
fi

case ${1-} in
  --config | --config=*) ;;
  *) set -- --config "$config" "$@" ;;
esac
exec "$here/.venv/bin/python" "$here/twitterstream.py" "$@"
