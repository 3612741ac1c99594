"""Commands of the ``raytt`` command line that are more than one call, each in a module of its own."""
