"""Errors of events that could not be delivered."""

from app.core.errors import Conflict, NotFound


class LetterNotFound(NotFound):
    """There is no such dead letter."""

    code = "letter_not_found"


class LetterWaits(Conflict):
    """This event is no dead letter: it is tried again by itself.

    Wait until it succeeds or is given up.
    """

    code = "letter_waits"
