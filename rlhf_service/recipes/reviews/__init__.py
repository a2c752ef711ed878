"""Movie-review snippets: a small language model learns to write reviews that people rate higher."""
