"""The verbs of backups, by what they do."""
