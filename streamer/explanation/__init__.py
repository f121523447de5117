"""One alert explained to a person: read, put in words, and shown in a terminal or on a page."""
