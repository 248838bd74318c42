"""Forward passes: packed trees of tokens in, the log-probability of every answer out."""
