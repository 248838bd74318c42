"""Forward passes: prefix trees of tokens in, the log-probability of every answer out."""
