"""The fleet of tenants' databases: migrating, comparing, auditing and filling all of them.

Works on the ledger of `tenants`, so that a database that needs nothing is not even connected to.
"""
