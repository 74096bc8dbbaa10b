#!/bin/sh
# Make the certificates and passwords of the bus; files that exist are kept.
#
#   sh make-secrets.sh FOLDER HOST...     HOST: a name, or an IPv4 address
#
#   FOLDER/HOST/            for /etc/nats/secrets of this machine: ca.pem, server.pem,
#                           server-key.pem, passwords.conf
#   FOLDER/ca.pem           for twitterstream, setting `bus_ca`
#   FOLDER/bus_credentials  for twitterstream, setting `bus_credentials`
#   FOLDER/ca-key.pem       signs certificates: keep it off these machines
set -eu
umask 077

[ $# -ge 2 ] || { echo "usage: sh make-secrets.sh FOLDER HOST..." >&2; exit 2; }
folder=$1
shift
for host; do
  case $host in
    *[!A-Za-z0-9.-]* | -* | .*) echo "make-secrets.sh: $host is not the name of a machine" >&2; exit 2 ;;
  esac
done
mkdir -p "$folder"
cd "$folder"

key() { # FILE: a private key
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
}

if [ ! -e ca.pem ]; then
  key ca-key.pem
  openssl req -x509 -new -key ca-key.pem -sha256 -days 3650 -subj "/CN=twitterstream bus" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -out ca.pem.new
  mv ca.pem.new ca.pem
fi
if [ ! -e passwords.conf ]; then
  bus=$(openssl rand -hex 24)
  printf 'user: twitterstream\npassword: %s\n' "$bus" >bus_credentials
  printf 'BUS_PASSWORD: "%s"\nADMIN_PASSWORD: "%s"\n' "$bus" "$(openssl rand -hex 24)" >passwords.new
  mv passwords.new passwords.conf
fi
for host; do
  mkdir -p "$host"
  cp ca.pem passwords.conf "$host"
  [ -e "$host/server.pem" ] && continue
  key "$host/server-key.pem"
  case $host in
  *[!0-9.]*) kind=DNS ;;
  *) kind=IP ;; # an IPv4 address
  esac
  # A server is the client of the others.
  printf 'subjectAltName=%s:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$kind" "$host" >"$host/new.ext"
  openssl req -new -key "$host/server-key.pem" -subj "/CN=$host" |
    openssl x509 -req -sha256 -days 1095 -CA ca.pem -CAkey ca-key.pem -CAcreateserial \
      -extfile "$host/new.ext" -out "$host/server.pem.new"
  rm "$host/new.ext"
  mv "$host/server.pem.new" "$host/server.pem"
done
