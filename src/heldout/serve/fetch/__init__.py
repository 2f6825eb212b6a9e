"""New papers for the feed: read from arXiv and Hugging Face, made one, and stored."""
