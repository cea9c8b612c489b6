"""What bodies and answers are made of, for the document: schemas of JSON Schema 2020-12."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["ANSWERS", "BODIES", "SCHEMAS", "said_of"]

Schema = dict[str, Any]


def _object(required: str = "", **properties: Schema) -> Schema:
    """An object: names that it has always, separated by spaces, and what its values are."""
    made: Schema = {"type": "object", "properties": properties}
    return made | ({"required": required.split()} if required else {})


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _map(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}
_PARAMETERS = _map({"type": ["string", "number", "boolean"]})
_SHAPE = _list(_NUMBER)

_DATATYPES: Schema = {
    "enum": ["BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64",
             "BYTES"],
}  # fmt: skip

_TENSOR = _object(
    "name datatype shape",
    name=_TEXT,
    datatype=_DATATYPES,
    shape=_SHAPE,
    parameters=_PARAMETERS,
    data={"type": "array", "description": "elements in row-major order; of an input nested or flat"},
)

_SAID_OF_PARAMETERS = "sequence_id, sequence_start, sequence_end, sequence_key, session, timeout, binary_data_output"

_WANTED = _object("name", name=_TEXT, parameters=_PARAMETERS | {"description": "binary_data, classification"})

_SERVED_TENSOR = _object("name datatype shape", name=_TEXT, datatype=_TEXT, shape=_SHAPE, parameters=_PARAMETERS)

SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {
        "Error": _object("error", error=_TEXT, id=_TEXT),
        "Tensor": _TENSOR,
        "InferRequest": _object(
            "inputs",
            id=_TEXT,
            parameters=_PARAMETERS | {"description": _SAID_OF_PARAMETERS},
            inputs=_list(_ref("Tensor")),
            outputs=_list(_WANTED),
        ),
        "InferResponse": _object(
            "model_name model_version id outputs",
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            parameters=_PARAMETERS,
            outputs=_list(_ref("Tensor")),
        ),
        "GenerateResponse": _object("model_name model_version id", model_name=_TEXT, model_version=_TEXT, id=_TEXT),
        "ModelMetadata": _object(
            "name versions platform inputs outputs",
            name=_TEXT,
            versions=_list(_TEXT),
            platform=_TEXT,
            inputs=_list(_SERVED_TENSOR),
            outputs=_list(_SERVED_TENSOR),
            properties=_map(_TEXT),
        ),
        "Version": _object("name version state reason", name=_TEXT, version=_TEXT, state=_TEXT, reason=_TEXT),
    }
)
"""By name; others refer to them."""

_REGION = _object("key offset byte_size", key=_TEXT, offset=_NUMBER, byte_size=_NUMBER)
_CUDA_REGION = _object(
    "raw_handle device_id byte_size", raw_handle=_object("b64", b64=_TEXT), device_id=_NUMBER, byte_size=_NUMBER
)
_TRACE_SETTING: Schema = {"type": ["string", "integer", "null", "array"], "items": {"type": ["string", "integer"]}}

_TRACE_SETTINGS = _object(
    trace_level=_TRACE_SETTING,
    trace_rate=_TRACE_SETTING,
    trace_count=_TRACE_SETTING,
    log_frequency=_TRACE_SETTING,
    trace_file=_TRACE_SETTING,
)
_LOG_SETTINGS = _object(
    log_file=_TEXT,
    log_info=_FLAG,
    log_warning=_FLAG,
    log_error=_FLAG,
    log_verbose_level={"type": "integer", "minimum": 0, "maximum": (1 << 32) - 1},
    log_format=_TEXT,
)

BODIES: Mapping[str, Schema | None] = MappingProxyType(
    {
        "repository": _object(ready=_FLAG),
        "control": _object(
            parameters=_map({"type": ["string", "integer", "boolean"], "minimum": -(1 << 63), "maximum": (1 << 63) - 1})
        ),
        "logging": _LOG_SETTINGS | {"additionalProperties": False},
        "trace_settings": _TRACE_SETTINGS | {"additionalProperties": False},
        "system_shared_memory register": _REGION,
        "cuda_shared_memory register": _CUDA_REGION,
        "system_shared_memory": None,
        "cuda_shared_memory": None,
    }
)
"""Of requests, by the route's name, or that and the path's last part; None where bodies are not read."""

_READY = _object("name ready", name=_TEXT, ready={"const": True})

ANSWERS: Mapping[str, Schema | None] = MappingProxyType(
    {
        "server_metadata": _object("name version extensions", name=_TEXT, version=_TEXT, extensions=_list(_TEXT)),
        "live": _object("live", live={"const": True}),
        "ready": _object("ready", ready={"const": True}),
        "list_models": _object("models", models=_list(_TEXT)),
        "statistics": _object("model_stats", model_stats=_list(_object("name version", name=_TEXT, version=_TEXT))),
        "model_metadata": _ref("ModelMetadata"),
        "model_ready": _READY,
        "model_config": _object("name input output", name=_TEXT, input=_list({"type": "object"})),
        "generate": _ref("GenerateResponse"),
        "repository": _list(_ref("Version")),
        "control load": _object("name load", name=_TEXT, load={"const": True}),
        "control unload": _object("name unload", name=_TEXT, unload={"const": True}),
        "logging": _LOG_SETTINGS,
        "trace_settings": _map({"type": ["string", "array"], "items": _TEXT}),
        "system_shared_memory status": _list({"type": "object"}),
        "cuda_shared_memory status": _list({"type": "object"}),
        "document": _object("openapi info paths", openapi=_TEXT),
        "page_models": _object("models not_serving", models=_list({"type": "object"})),
    }
)
"""Of status 200, in the same way; what is in none of them is said to be any JSON."""


def said_of(table: Mapping[str, Schema | None], name: str, path: str) -> Schema | None:
    """Find what a table says of a route.

    Args:
        table: `BODIES` or `ANSWERS`.
        name: The route's name.
        path: The route's path.
    """
    last = path.rpartition("/")[2]
    return table.get(f"{name} {last}", table.get(name))
