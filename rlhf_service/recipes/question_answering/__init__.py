"""Arithmetic word problems: SFT from scratch, then policy gradients against SQuAD's F1."""
