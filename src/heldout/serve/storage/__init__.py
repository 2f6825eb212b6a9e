"""What the page's database holds: votes, comments, subscribers, fetched papers, jobs, verdicts."""
