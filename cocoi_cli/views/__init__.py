"""Records to tables, progress and timelines; no decisions."""
