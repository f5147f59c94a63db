"""Conversion of an original checkpoint to sequence classification, shard by shard."""

from .convert import ConversionResult, convert

__all__ = ["ConversionResult", "convert"]
