"""The table of due work: each row runs at least once, whatever becomes of workers and Redis."""
