"""Evaluation: tasks, scorers, statistics, suites and simulated worlds, by which answers are judged."""
