"""What happened is told to others: never lost, never made up, each effect once.

An event is written beside its cause, in the same transaction and database (`recording`). A relay
sends what is written (`relaying`), to Kafka or straight to `delivery`, which calls the handlers of
``consumers.py`` files; what they fail at waits in a table, and is given up there (`letters`).
"""
