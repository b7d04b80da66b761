"""Known bugs put back into the product, to see that the harness finds them."""
