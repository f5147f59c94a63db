"""What the tests share: servers that answer or fail on demand, models, a terminal, mutants."""
