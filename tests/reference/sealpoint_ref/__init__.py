"""Independent reference implementation of docs/SPEC.md: clear and small, neither fast nor constant-time throughout."""
