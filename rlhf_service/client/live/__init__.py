"""A job as a notebook shows it: kept up to date in place, without widgets."""
