"""The evidence record: its shape, its schema, and how it is put together."""

SCHEMA = "drdrill/1"
"""Name and version of the record's format."""
