"""The verbs of tenants, a family in each module."""
