"""Seals stored secrets anew, after a key was changed or another kind of sealing was chosen."""
