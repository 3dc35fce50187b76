"""What it does: one package per domain; the map of who may use whom is in pyproject.toml."""
