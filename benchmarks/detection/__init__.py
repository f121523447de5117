"""How soon what is known to have changed is found, and how often nothing was: real and synthetic streams."""
