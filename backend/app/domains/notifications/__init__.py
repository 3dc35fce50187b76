"""What people are told of what happens: in a list, in its live stream, and by mail."""
