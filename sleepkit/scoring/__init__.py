"""A night of one's own."""
