"""The site as plain files: which pages there are, how their links are rewritten, how it is kept."""
