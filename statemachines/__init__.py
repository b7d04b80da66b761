"""State machines that come with the library. They know its state-machine port and nothing else."""
