"""The connection of one source: connect, watch for silence, back off, record gaps."""

from stream.connection.supervisor import ConnectionSupervisor

__all__ = ["ConnectionSupervisor"]
