"""The connection of one source: connect, prove life, watch for silence, back off, record gaps."""

from stream.connection.supervisor import Connection

__all__ = ["Connection"]
