"""Arithmetic word problems: SFT from scratch, then GRPO against SQuAD's F1."""
