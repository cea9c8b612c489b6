from rnnserve.load.machine import describe_machine


def test_the_machine_is_described():
    machine = describe_machine()
    assert {"cores", "system", "python", "grpcio", "numpy"} <= set(machine)
    assert all(machine.values())
