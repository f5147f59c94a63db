"""The dialects: what a family of rerank servers says and understands, one small pure file each."""
