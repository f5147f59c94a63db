"""Documents from files: read, and split into chunks."""
