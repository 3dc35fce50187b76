"""People, their passwords, their sessions, and the keys that sign their tokens.

It tells who signed in, who was refused, and which sessions ended (``events.py``).
"""
