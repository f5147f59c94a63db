"""Fakes of rerank servers, one file a dialect, from the servers' source or vendors' pages."""
