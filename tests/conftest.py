"""Options, and what every area's tests may use."""


def pytest_addoption(parser):
    parser.addoption("--malformed", type=int, default=2000, help="how many malformed requests to send to a server")
