"""What can go wrong with a simulated cluster: one function for each kind of spell."""
