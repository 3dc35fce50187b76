"""Tenants, their members and what belongs to them over HTTP: a blueprint in each module."""
