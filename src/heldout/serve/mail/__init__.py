"""Mail: subscriptions that are confirmed by a link, and digests that arrive once."""
