import rnnserve.client


def test_exported_names():
    assert rnnserve.client.__all__ == [
        "AsyncClient",
        "AsyncSession",
        "Cancelled",
        "Classification",
        "Client",
        "ClientError",
        "DeadlineExceeded",
        "FailedPrecondition",
        "InternalError",
        "InvalidAnswer",
        "InvalidRequest",
        "ModelMetadata",
        "ModelNotFound",
        "PermissionDenied",
        "Prediction",
        "ResourceExhausted",
        "Session",
        "TensorMetadata",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "UnreadableInput",
    ]
    assert all(hasattr(rnnserve.client, name) for name in rnnserve.client.__all__)
