"""What the constants that no fit decides are worth: each is varied, all else fixed, beside real training."""
