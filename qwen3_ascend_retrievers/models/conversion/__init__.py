"""Conversion of an original checkpoint to sequence classification, shard by shard."""

from .convert import Converted, convert

__all__ = ["Converted", "convert"]
