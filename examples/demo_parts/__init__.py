"""The sections of the demo, one module each, and what they share."""
