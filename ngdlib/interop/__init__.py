"""Other libraries, made usable beside this one. Nothing here is imported until it is asked for."""
