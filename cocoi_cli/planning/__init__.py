"""Pure decisions: which stage runs where, with which code."""
