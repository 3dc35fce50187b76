"""The one question of every request: who is this, which tenant, which role."""
