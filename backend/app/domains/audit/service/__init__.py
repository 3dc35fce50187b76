"""The verbs of the audit trail: recording, sealing, verifying, reading."""
