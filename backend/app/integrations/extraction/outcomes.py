"""How taking a file's text may end; small, for the child imports it."""


class Encrypted(Exception):
    """It opens with a password only."""
