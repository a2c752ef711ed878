"""RLHF itself: specs, maths, stages. Knows nothing of Ray or HTTP."""
