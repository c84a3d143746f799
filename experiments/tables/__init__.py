"""Tables of results: which runs they need, what is done of them, and how they are written."""
