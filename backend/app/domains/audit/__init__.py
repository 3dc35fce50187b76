"""The audit trail of each tenant and of the platform: who did what, when, from where.

It listens to every event, in the transaction of the change. Rows are appended by a function of the
database; no role that the product runs as may insert, change or remove one. A job seals them into a
chain of hashes, whose end is signed elsewhere (docs/audit.md).
"""
