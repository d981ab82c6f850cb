"""Networks, finite and infinitely wide."""
