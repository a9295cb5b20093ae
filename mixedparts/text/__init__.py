"""Questions and grounded answers."""
