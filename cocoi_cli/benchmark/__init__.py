"""The benchmark of schemes under stragglers and failures: scenarios, faults, order, statistics, records."""
