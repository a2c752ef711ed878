"""A real instruct model (SmolLM2-135M-Instruct) learns to translate with low-rank adapters."""
