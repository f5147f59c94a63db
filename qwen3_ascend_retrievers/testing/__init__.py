"""For tests of code that uses this package: a fake engine, and conformance suites."""

from .fake import FakeEngine

__all__ = ["FakeEngine"]
