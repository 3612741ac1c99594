"""Task files that ``raytt init`` copies: each runs as it is, and says where to put your own."""
