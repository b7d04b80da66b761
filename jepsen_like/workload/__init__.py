"""What is asked of a cluster: small state machines, and who asks what of them."""
