"""Known bugs, put into the product on purpose: what a harness must find to be believed.

``mutant`` reads them, ``overlay`` makes a copy of the product with one of them in it, ``judge``
looks for it in a process of its own with a ``profiles`` judge, and ``hunt`` sums up.
"""
