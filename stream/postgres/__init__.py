"""The embedded PostgreSQL: our own server in data_dir, unless the settings name another."""

from stream.postgres.server import Embedded as Embedded
from stream.postgres.server import client_environment as client_environment
