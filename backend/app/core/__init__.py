"""How it runs: the edge, the main database, time, ids, errors. Knows no domain."""
