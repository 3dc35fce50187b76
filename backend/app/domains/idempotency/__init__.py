"""The keys of requests that are done once, each in the database that its request writes to."""
