#!/bin/sh
# In the container: read the password from a file, so that `docker inspect` does not show it.
umask 077
if [ -z "${TWITTERSTREAM_DATABASE:-}" ] && [ -e /run/secrets/postgres_password ]; then
  password=$(cat /run/secrets/postgres_password) || exit 1
  export TWITTERSTREAM_DATABASE="postgresql://twitterstream:$password@postgres/twitterstream"
fi
exec python /app/twitterstream.py "$@"
