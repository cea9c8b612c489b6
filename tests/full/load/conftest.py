from kit.load_tests import *  # noqa: F403 - all fixtures of the load test
