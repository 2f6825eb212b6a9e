"""The report of an audit: one JSON document, and everything that renders or reads it."""
