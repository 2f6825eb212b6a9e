"""What all pages share: templates, forms, headers, limits, and pages that are kept."""
