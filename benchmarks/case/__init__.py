"""A realistic case from end to end: many samples, many configurations, and the truth about some of them."""
