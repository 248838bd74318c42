"""How answers are judged: tasks, scorers, statistics, suites and simulated worlds."""
