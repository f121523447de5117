"""Bad input by the hundred thousand: what forges it, what is held against it, and the last result."""
