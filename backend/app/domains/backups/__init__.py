"""Backups of single tenants: taken, proven, restored beside what is there, and kept for a time."""
