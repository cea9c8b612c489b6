import rnnserve.client


def test_exported_names():
    assert rnnserve.client.__all__ == [
        "AsyncClient",
        "Cancelled",
        "Classification",
        "Client",
        "ClientError",
        "DeadlineExceeded",
        "InternalError",
        "InvalidAnswer",
        "InvalidRequest",
        "ModelMetadata",
        "ModelNotFound",
        "Prediction",
        "ResourceExhausted",
        "TensorMetadata",
        "Unavailable",
        "Unimplemented",
        "UnreadableInput",
    ]
    assert all(hasattr(rnnserve.client, name) for name in rnnserve.client.__all__)
