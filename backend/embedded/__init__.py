"""PostgreSQL and Valkey as child processes, for development and tests. No part of the product."""
