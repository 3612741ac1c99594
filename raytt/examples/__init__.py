"""Tasks that run from an installed package, for example ``raytt rank raytt.examples.digits``."""
