"""The contracts between the areas, and the code that reads and writes them.

- `inference_pb2`, `inference_pb2_grpc`, `model_config_pb2`: the inference protocol, made from the .proto files.
- `front_pb2`: what an HTTP front and its server exchange, many requests in a message.
- `descriptor_pool`: where these stubs register their messages.
- `manifest_pb2`, `artifact`: a published version, its files and its manifest.
- `golden`, `differences`: golden results, and how near another runtime must come to them.
- `triton_config`: a model's config.pbtxt.
- `recorded_defaults`: what stands for inputs that a request leaves out.
- `protocol_words`: words that clients and servers exchange beside the messages.
- `access_table`: what each method and route needs, where a server asks for tokens.
- `derived_size`: rules for the sizes of output axes.
- `batching_modes`, `tensors_in_words`: which requests may share a run, and what tensors are for, in words.
- `signing/`: signed versions, and the keys; its `keys` alone imports cryptography.
- `names`, `repository_folders`: names of models and versions in a repository, and their folders.

The package imports protobuf, numpy and, for the service's stubs, grpc; it imports no other area but `common`.

Door: `access_table`, `artifact`, `batching_modes`, `datatypes`, `derived_size`, `differences`, `front_pb2`, `golden`,
`health_pb2`, `inference_pb2`, `inference_pb2_grpc`, `manifest_pb2`, `model_config_pb2`, `names`, `protocol_words`,
`recorded_defaults`, `repository_folders`, `serving_graph`, `signing`, `tensors_in_words`, `triton_config`.
"""
