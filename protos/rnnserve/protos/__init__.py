"""The contracts between the areas, and the code that reads and writes them.

- `inference_pb2`, `inference_pb2_grpc`, `model_config_pb2`: the inference protocol, made from the .proto files.
- `front_pb2`: the messages between an HTTP gateway and its server, with many requests each.
- `descriptor_pool`: the registry for the messages of these stubs.
- `manifest_pb2`, `artifact`: a published version, its files and its manifest.
- `golden`, `differences`: golden results, and the tolerances for another runtime. `array_archives` reads .npz files in
  bounded memory.
- `triton_config`: a model's config.pbtxt.
- `recorded_defaults`: values for inputs that a request leaves out.
- `protocol_words`: names of metadata and parameters that clients and servers exchange.
- `access_table`: the token roles required by each method and route.
- `derived_size`: rules for the sizes of output axes.
- `batching_modes`, `tensors_in_words`: descriptions of batching modes and of tensors.
- `signing/`: signed versions and keys. Only its `keys` imports cryptography.
- `names`, `repository_folders`: names of models and versions in a repository, and their folders.

The package imports protobuf, numpy and, for the service's stubs, grpc. The only other area it imports is `common`.

Public: `access_table`, `artifact`, `batching_modes`, `datatypes`, `derived_size`, `differences`, `front_pb2`, `golden`,
`health_pb2`, `inference_pb2`, `inference_pb2_grpc`, `manifest_pb2`, `model_config_pb2`, `names`, `protocol_words`,
`recorded_defaults`, `repository_folders`, `serving_graph`, `signing`, `tensors_in_words`, `triton_config`.
"""
