#!/bin/sh
# The installed command. `current` is resolved once, so that a simultaneous upgrade cannot mix two
# releases.
here=$(readlink -f /opt/twitterstream/current) || exit 1
config=/etc/twitterstream/config.yaml

# Commands that root runs switch to the daemon's account; otherwise root would own files that the
# daemon must write.
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
