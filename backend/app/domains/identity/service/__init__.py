"""The verbs of identity, a family in each module."""
