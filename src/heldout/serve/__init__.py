"""The papers as a page: feed, search, measured claims, comments, and a digest by e-mail."""
