"""What a server is asked and answers, and who owns the template. Pure: no I/O, no clock."""
