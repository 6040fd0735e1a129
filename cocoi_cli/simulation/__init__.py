"""A fleet that is computed instead of run: the real session under a simulated clock, links and devices."""
