"""The track record: audits of models with known defects, and how often each check is right."""
