"""Whom it talks to: one module per outside system. Vendor types and exceptions end here."""
