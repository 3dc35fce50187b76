"""The verbs of the fleet, a family in each module."""
