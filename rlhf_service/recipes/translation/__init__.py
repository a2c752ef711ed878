"""English → Spanish sentences of Tatoeba: SFT from scratch, then policy gradients against chrF."""
