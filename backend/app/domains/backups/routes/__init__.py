"""Backups and exports over HTTP."""
