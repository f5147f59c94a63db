"""What the remote client costs beside raw HTTP and beside other clients: `make bench`.

`python -m benchmarks` (see `__main__.py`) runs the workloads of `workloads/`, one module each, and
writes docs/benchmarks.md from their records. No timing is a test; tests/test_benchmarks.py runs
the smallest workload once, so that this package keeps working.
"""
