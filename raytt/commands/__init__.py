"""Commands of the command line beside ``rank``: a module each, with the function that runs it and its examples."""
