"""One short file per command: parse, call, render."""
