"""One-sentence summaries of news: SFT from scratch, then GRPO against ROUGE-L."""
