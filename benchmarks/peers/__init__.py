"""The servers to compare with. Each module is a program that prints `gRPC on 127.0.0.1:PORT` once it answers."""
