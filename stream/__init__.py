"""The path of a tweet, from the network to Postgres."""

__version__ = "0.1.0"
