"""English → Spanish sentences of Tatoeba: SFT from scratch, then GRPO against chrF and BLEU."""
