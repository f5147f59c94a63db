"""One HTTP request, its retries and deadline; nothing here depends on its content."""
