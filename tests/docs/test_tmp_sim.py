from jepsen_like.sim.simulation import simulate
def test_a_b_c():
    for s in range(6): simulate(s)
