"""Tenantry: the back end of a B2B SaaS product, with a PostgreSQL database for every tenant."""
