"""One HTTP request, its retries and deadline; nothing here knows what is asked."""
