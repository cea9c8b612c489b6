"""The contracts between the areas, and the code that reads and writes them.

- `inference_pb2`, `inference_pb2_grpc`, `model_config_pb2`: the inference protocol, made from the .proto files.
- `descriptor_pool`: where these stubs register their messages.
- `manifest_pb2`, `artifact`: a published version, its files and its manifest.
- `golden`, `differences`: golden results, and how near another runtime must come to them.
- `triton_config`: a model's config.pbtxt.
- `batching_modes`, `tensors_in_words`: which requests may share a run, and what tensors are for, in words.
- `regular_files`, `array_archives`: reading files that may be anything, in bounded time and memory.
- `guarded_process`, `guarded_work`: a process for work on such files that may crash, hang, or take all memory.
- `names`, `repository_folders`: names of models and versions in a repository, and their folders.

The package imports protobuf, numpy and, for the service's stubs, grpc; it imports no other area.
"""
