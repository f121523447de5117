"""The one root of what a user can put right."""


class StreamerError(RuntimeError):
    """A foreseen failure: its message says what is wrong and names the cure."""
