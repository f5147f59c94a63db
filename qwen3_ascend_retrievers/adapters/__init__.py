"""What both frameworks' adapters share. No framework is imported here."""
