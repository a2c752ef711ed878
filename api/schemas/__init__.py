"""What the API takes and answers with, a noun a file."""
