"""Why it exists: one PostgreSQL database for every tenant, and one door to it.

Knows no domain: it works on a `TenantLocation`, which the registry of tenants supplies.
"""
