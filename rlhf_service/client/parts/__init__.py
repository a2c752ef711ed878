"""What hangs on a client: one class for each noun of the API, for each of the two ways to send."""
