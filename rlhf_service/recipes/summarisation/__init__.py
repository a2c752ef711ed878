"""One-sentence summaries of news: SFT from scratch, then policy gradients against ROUGE-L."""
