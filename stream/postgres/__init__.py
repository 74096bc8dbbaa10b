"""The embedded PostgreSQL: a server of our own in data_dir, for those who bring none."""

from stream.postgres.server import Embedded as Embedded
from stream.postgres.server import client_environment as client_environment
