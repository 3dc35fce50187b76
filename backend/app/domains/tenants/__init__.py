"""Tenants, who belongs to them, and the ledger of their databases."""
