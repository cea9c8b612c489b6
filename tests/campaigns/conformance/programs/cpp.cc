// gRPC for C++ as Debian packages it, with stubs that protoc makes from the .proto files.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <thread>

#include "cpp_trial.h"
#include "rnnserve/protos/health.grpc.pb.h"
#include "rnnserve/protos/inference.grpc.pb.h"

using grpc::ClientContext;
using grpc::Status;
using grpc::StatusCode;
using inference::GRPCInferenceService;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::ModelStreamInferResponse;
using std::chrono::milliseconds;
using std::chrono::system_clock;
using std::string;
using std::vector;
using trial::check;
using trial::Refused;
using trial::refused;
using trial::Row;

namespace {

trial::Plan plan;

using Stub = GRPCInferenceService::Stub;

std::unique_ptr<Stub> stub(const string& address = plan.plain, const grpc::ChannelArguments& arguments = {}) {
  return GRPCInferenceService::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

std::unique_ptr<grpc::health::v1::Health::Stub> health() {
  return grpc::health::v1::Health::NewStub(grpc::CreateChannel(plan.plain, grpc::InsecureChannelCredentials()));
}

template <typename Value>
string bytes_of(const vector<Value>& values) {
  return string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Value));
}

// A request of points (batch, sequence, 2).
ModelInferRequest request(const vector<float>& points, int64_t batch, const vector<string>& outputs = {"logits"}) {
  ModelInferRequest made;
  made.set_model_name(plan.model);
  auto* input = made.add_inputs();
  input->set_name("input");
  input->set_datatype("FP32");
  for (int64_t size : {batch, static_cast<int64_t>(points.size()) / 2 / batch, int64_t{2}}) input->add_shape(size);
  made.add_raw_input_contents(bytes_of(points));
  for (const string& name : outputs) made.add_outputs()->set_name(name);
  return made;
}

ModelInferRequest walk(size_t index = 0) { return request(plan.walks[index].points, 1); }

ModelInferRequest wrong_shape() {
  ModelInferRequest made = walk();
  made.mutable_inputs(0)->set_shape(1, 2);
  made.mutable_inputs(0)->set_shape(2, 3);
  made.set_raw_input_contents(0, string(24, '\0'));
  return made;
}

ModelInferRequest long_walks() { return request(vector<float>(500 * 4096 * 2), 500); }

void same(const ModelInferResponse& answer, const vector<float>& expected, int at = 0) {
  const string& raw = answer.raw_output_contents(at);
  check(raw.size() == expected.size() * sizeof(float), std::to_string(raw.size()) + " bytes");
  vector<float> found(expected.size());
  std::memcpy(found.data(), raw.data(), raw.size());
  for (size_t i = 0; i < found.size(); ++i) {
    check(std::abs(found[i] - expected[i]) < 1e-5, std::to_string(found[i]) + ", not " + std::to_string(expected[i]));
  }
}

ModelInferResponse infer(Stub& asked, const ModelInferRequest& sent) {
  ClientContext context;
  ModelInferResponse answer;
  check(asked.ModelInfer(&context, sent, &answer));
  return answer;
}

Status fail(Stub& asked, const ModelInferRequest& sent) {
  ClientContext context;
  ModelInferResponse answer;
  return asked.ModelInfer(&context, sent, &answer);
}

// Any unary method: the answer to a request.
template <typename Answer, typename Service, typename Request>
Answer ask(Service& asked, Status (Service::*method)(ClientContext*, const Request&, Answer*), const Request& sent) {
  ClientContext context;
  Answer answer;
  check((asked.*method)(&context, sent, &answer));
  return answer;
}

bool is_ready(Stub& asked, const string& name) {
  inference::ModelReadyRequest sent;
  sent.set_name(name);
  return ask(asked, &Stub::ModelReady, sent).ready();
}

vector<ModelInferRequest> steps(const Row& row, int64_t id) {
  vector<ModelInferRequest> made;
  for (size_t at = 0; at < row.points.size(); at += 2) {
    made.push_back(request({row.points[at], row.points[at + 1]}, 1));
    auto& parameters = *made.back().mutable_parameters();
    parameters["sequence_id"].set_int64_param(id);
    parameters["sequence_start"].set_bool_param(at == 0);
    parameters["sequence_end"].set_bool_param(at + 2 == row.points.size());
  }
  return made;
}

vector<ModelStreamInferResponse> stream(const vector<ModelInferRequest>& requests, bool ends_on_error = false) {
  auto asked = stub();
  ClientContext context;
  if (ends_on_error) context.AddMetadata("triton_grpc_error", "true");
  auto call = asked->ModelStreamInfer(&context);
  for (const auto& sent : requests) call->Write(sent);
  call->WritesDone();
  vector<ModelStreamInferResponse> answers;
  ModelStreamInferResponse answer;
  while (call->Read(&answer)) answers.push_back(answer);
  check(call->Finish());
  return answers;
}

// Walks padded to the longest, with their lengths.
void batch_of(Stub& asked, size_t rows) {
  size_t longest = 0;
  for (const Row& row : plan.walks) longest = std::max(longest, row.points.size());
  vector<float> points(rows * longest), logits;
  vector<int64_t> lengths;
  for (size_t row = 0; row < rows; ++row) {
    const Row& chosen = plan.walks[row % plan.walks.size()];
    std::copy(chosen.points.begin(), chosen.points.end(), points.begin() + row * longest);
    lengths.push_back(chosen.points.size() / 2);
    logits.insert(logits.end(), chosen.logits.begin(), chosen.logits.end());
  }
  ModelInferRequest sent = request(points, rows);
  auto* input = sent.add_inputs();
  input->set_name("lengths");
  input->set_datatype("INT64");
  input->add_shape(rows);
  sent.add_raw_input_contents(bytes_of(lengths));
  same(infer(asked, sent), logits);
}

const vector<trial::Feature> kFeatures = {
    {"live", [] { check(ask(*stub(), &Stub::ServerLive, inference::ServerLiveRequest()).live(), "not live"); }},
    {"ready",
     [] {
       auto asked = stub();
       check(ask(*asked, &Stub::ServerReady, inference::ServerReadyRequest()).ready(), "not ready");
       check(is_ready(*asked, plan.model), "model not ready");
       check(!is_ready(*asked, "unknown"), "unknown model ready");
     }},
    {"server-metadata",
     [] {
       auto answer = ask(*stub(), &Stub::ServerMetadata, inference::ServerMetadataRequest());
       check(answer.name() == "rnnserve", answer.name());
     }},
    {"model-metadata",
     [] {
       inference::ModelMetadataRequest sent;
       sent.set_name(plan.model);
       auto answer = ask(*stub(), &Stub::ModelMetadata, sent);
       check(answer.inputs(0).name() == "input" && answer.inputs(0).shape(2) == 2, answer.ShortDebugString());
     }},
    {"model-config",
     [] {
       inference::ModelConfigRequest sent;
       sent.set_name(plan.model);
       auto answer = ask(*stub(), &Stub::ModelConfig, sent);
       check(answer.config().output(0).data_type() == inference::TYPE_FP32, answer.ShortDebugString());
     }},
    {"infer-raw", [] { same(infer(*stub(), walk()), plan.walks[0].logits); }},
    {"infer-typed",
     [] {
       ModelInferRequest sent = walk();
       sent.clear_raw_input_contents();
       for (float value : plan.walks[0].points) sent.mutable_inputs(0)->mutable_contents()->add_fp32_contents(value);
       same(infer(*stub(), sent), plan.walks[0].logits);
     }},
    {"infer-integers",
     [] {
       for (const Row& row : plan.rows) {
         ModelInferRequest sent;
         sent.set_model_name(plan.text);
         auto* input = sent.add_inputs();
         input->set_name("tokens");
         input->set_datatype("INT64");
         input->add_shape(1);
         input->add_shape(row.points.size());
         sent.add_raw_input_contents(bytes_of(vector<int64_t>(row.points.begin(), row.points.end())));
         same(infer(*stub(), sent), row.logits);
       }
     }},
    {"infer-async",
     [] {
       constexpr size_t kCount = 200;
       struct Call {
         ClientContext context;
         ModelInferResponse answer;
         Status status;
         std::unique_ptr<grpc::ClientAsyncResponseReader<ModelInferResponse>> reader;
       };
       auto asked = stub();
       grpc::CompletionQueue queue;
       vector<Call> calls(kCount);
       for (size_t index = 0; index < kCount; ++index) {
         Call& call = calls[index];
         call.reader = asked->AsyncModelInfer(&call.context, walk(index % plan.walks.size()), &queue);
         call.reader->Finish(&call.answer, &call.status, &call);
       }
       void* tag;
       bool ok;
       for (size_t index = 0; index < kCount; ++index) check(queue.Next(&tag, &ok) && ok, "no answer");
       for (size_t index = 0; index < kCount; ++index) {
         check(calls[index].status);
         same(calls[index].answer, plan.walks[index % plan.walks.size()].logits);
       }
     }},
    {"outputs",
     [] {
       auto answer = infer(*stub(), request(plan.walks[0].points, 1, {"h_n", "logits"}));
       check(answer.outputs_size() == 2 && answer.outputs(0).name() == "h_n", answer.ShortDebugString());
       same(answer, plan.walks[0].logits, 1);
     }},
    {"id",
     [] {
       ModelInferRequest sent = walk();
       sent.set_id("mine");
       check(infer(*stub(), sent).id() == "mine", "another id");
     }},
    {"batch",
     [] {
       for (size_t rows : {1, 2, 7, 64}) batch_of(*stub(), rows);
     }},
    {"lengths", [] { batch_of(*stub(), 4); }},
    {"classification",
     [] {
       ModelInferRequest sent = walk();
       (*sent.mutable_outputs(0)->mutable_parameters())["classification"].set_int64_param(1);
       string entry = infer(*stub(), sent).raw_output_contents(0).substr(4);
       string best = plan.walks[0].logits[0] > plan.walks[0].logits[1] ? ":0:clockwise" : ":1:counter-clockwise";
       check(entry.size() > best.size() && entry.substr(entry.find(':')) == best, entry);
     }},
    {"timeout",
     [] {
       ModelInferRequest sent = walk();
       auto& parameter = (*sent.mutable_parameters())["timeout"];
       parameter.set_int64_param(10'000'000);
       same(infer(*stub(), sent), plan.walks[0].logits);
       parameter.set_int64_param(1);
       refused(fail(*stub(), sent), StatusCode::UNAVAILABLE, "Request timeout expired");
     }},
    {"priority",
     [] {
       ModelInferRequest sent = walk();
       (*sent.mutable_parameters())["priority"].set_uint64_param(1);
       same(infer(*stub(), sent), plan.walks[0].logits);
     }},
    {"parameters",
     [] {
       ModelInferRequest sent = walk();
       (*sent.mutable_parameters())["text"].set_string_param("a");
       (*sent.mutable_parameters())["number"].set_double_param(0.5);
       same(infer(*stub(), sent), plan.walks[0].logits);
     }},
    {"headers",
     [] {
       ClientContext context;
       context.AddMetadata("my-header", "a");
       context.AddMetadata("my-bytes-bin", string("\0\xff", 2));
       ModelInferResponse answer;
       check(stub()->ModelInfer(&context, walk(), &answer));
       same(answer, plan.walks[0].logits);
     }},
    {"error",
     [] {
       refused(fail(*stub(), wrong_shape()), StatusCode::INVALID_ARGUMENT, "\"input\"");
       ModelInferRequest sent = walk();
       sent.set_model_name("unknown");
       refused(fail(*stub(), sent), StatusCode::NOT_FOUND, "unknown");
     }},
    {"error-details",
     [] {
       Status status = fail(*stub(), wrong_shape());
       refused(status, StatusCode::INVALID_ARGUMENT);
       check(status.error_details().find("inputs[0].shape") != string::npos, "the field is not named");
     }},
    {"deadline",
     [] {
       auto asked = stub();
       ClientContext context;
       context.set_deadline(system_clock::now() + milliseconds(30));
       ModelInferResponse answer;
       refused(asked->ModelInfer(&context, long_walks(), &answer), StatusCode::DEADLINE_EXCEEDED);
       same(infer(*asked, walk()), plan.walks[0].logits);
     }},
    {"cancellation",
     [] {
       auto asked = stub();
       ClientContext context;
       std::thread canceller([&context] {
         std::this_thread::sleep_for(milliseconds(30));
         context.TryCancel();
       });
       ModelInferResponse answer;
       Status status = asked->ModelInfer(&context, long_walks(), &answer);
       canceller.join();
       refused(status, StatusCode::CANCELLED);
       same(infer(*asked, walk()), plan.walks[0].logits);
     }},
    {"compression",
     [] {
       grpc::ChannelArguments arguments;
       arguments.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
       batch_of(*stub(plan.plain, arguments), 64);
     }},
    {"tls",
     [] {
       grpc::SslCredentialsOptions options;
       options.pem_root_certs = plan.authorities;
       auto asked = GRPCInferenceService::NewStub(grpc::CreateChannel(plan.tls, grpc::SslCredentials(options)));
       same(infer(*asked, walk()), plan.walks[0].logits);
     }},
    {"keepalive",
     [] {
       grpc::ChannelArguments arguments;
       arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 200);
       arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
       arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
       auto asked = stub(plan.plain, arguments);
       check(ask(*asked, &Stub::ServerLive, inference::ServerLiveRequest()).live(), "not live");
       std::this_thread::sleep_for(milliseconds(1000));
       same(infer(*asked, walk()), plan.walks[0].logits);
     }},
    {"stream",
     [] {
       vector<ModelInferRequest> requests;
       for (size_t at = 0; at < 50; ++at) {
         requests.push_back(walk(at % plan.walks.size()));
         requests.back().set_id(std::to_string(at));
       }
       auto answers = stream(requests);
       check(answers.size() == requests.size(), std::to_string(answers.size()) + " answers");
       for (size_t at = 0; at < answers.size(); ++at) {
         check(answers[at].infer_response().id() == std::to_string(at), "out of order");
         same(answers[at].infer_response(), plan.walks[at % plan.walks.size()].logits);
       }
     }},
    {"stream-final",
     [] {
       auto answer = stream({walk()}).at(0).infer_response();
       check(answer.parameters().at("triton_final_response").bool_param(), answer.ShortDebugString());
     }},
    {"stream-error",
     [] {
       ModelInferRequest unknown = walk();
       unknown.set_model_name("unknown");
       auto answers = stream({unknown, walk()});
       check(answers.at(0).error_message().find("unknown") != string::npos, answers[0].ShortDebugString());
       same(answers.at(1).infer_response(), plan.walks[0].logits);
     }},
    {"stream-end",
     [] {
       ModelInferRequest unknown = walk();
       unknown.set_model_name("unknown");
       try {
         stream({unknown}, true);
       } catch (const Refused& refusal) {
         refused(refusal.status, StatusCode::NOT_FOUND, "unknown");
         return;
       }
       check(false, "the stream did not end");
     }},
    {"sequence-stream",
     [] {
       auto answers = stream(steps(plan.walks[0], 70061));
       same(answers.back().infer_response(), plan.walks[0].logits);
     }},
    {"sequence-unary",
     [] {
       auto asked = stub();
       ModelInferResponse answer;
       for (const auto& step : steps(plan.walks[3], 70062)) answer = infer(*asked, step);
       same(answer, plan.walks[3].logits);
     }},
    {"statistics",
     [] {
       inference::ModelStatisticsRequest sent;
       sent.set_name(plan.model);
       auto answer = ask(*stub(), &Stub::ModelStatistics, sent);
       check(answer.model_stats(0).inference_count() > 0, answer.ShortDebugString());
     }},
    {"index",
     [] {
       auto answer = ask(*stub(), &Stub::RepositoryIndex, inference::RepositoryIndexRequest());
       bool found = false;
       for (const auto& model : answer.models()) found |= model.name() == plan.model && model.state() == "READY";
       check(found, answer.ShortDebugString());
     }},
    {"load",
     [] {
       auto asked = stub(plan.explicit_control);
       inference::RepositoryModelLoadRequest load;
       load.set_model_name(plan.text);
       ask(*asked, &Stub::RepositoryModelLoad, load);
       check(is_ready(*asked, plan.text), "not ready");
       inference::RepositoryModelUnloadRequest unload;
       unload.set_model_name(plan.text);
       ask(*asked, &Stub::RepositoryModelUnload, unload);
       check(!is_ready(*asked, plan.text), "still ready");
     }},
    {"load-closed",
     [] {
       inference::RepositoryModelLoadRequest sent;
       sent.set_model_name(plan.model);
       ask(*stub(), &Stub::RepositoryModelLoad, sent);
     }},
    {"load-config",
     [] {
       inference::RepositoryModelLoadRequest sent;
       sent.set_model_name(plan.text);
       (*sent.mutable_parameters())["config"].set_string_param("{}");
       ask(*stub(plan.explicit_control), &Stub::RepositoryModelLoad, sent);
     }},
    {"memory-status",
     [] {
       auto asked = stub();
       auto system = ask(*asked, &Stub::SystemSharedMemoryStatus, inference::SystemSharedMemoryStatusRequest());
       auto cuda = ask(*asked, &Stub::CudaSharedMemoryStatus, inference::CudaSharedMemoryStatusRequest());
       check(system.regions().empty() && cuda.regions().empty(), system.ShortDebugString());
       ask(*asked, &Stub::SystemSharedMemoryUnregister, inference::SystemSharedMemoryUnregisterRequest());
       ask(*asked, &Stub::CudaSharedMemoryUnregister, inference::CudaSharedMemoryUnregisterRequest());
     }},
    {"memory-register",
     [] {
       inference::SystemSharedMemoryRegisterRequest sent;
       sent.set_name("region");
       sent.set_key("/region");
       sent.set_byte_size(64);
       ask(*stub(), &Stub::SystemSharedMemoryRegister, sent);
     }},
    {"trace-settings",
     [] {
       auto answer = ask(*stub(), &Stub::TraceSetting, inference::TraceSettingRequest());
       check(answer.settings().at("trace_level").value(0) == "OFF", answer.ShortDebugString());
     }},
    {"trace-change",
     [] {
       inference::TraceSettingRequest sent;
       (*sent.mutable_settings())["trace_level"].add_value("TIMESTAMPS");
       ask(*stub(), &Stub::TraceSetting, sent);
     }},
    {"log-settings",
     [] {
       auto answer = ask(*stub(), &Stub::LogSettings, inference::LogSettingsRequest());
       check(answer.settings().at("log_error").bool_param(), answer.ShortDebugString());
     }},
    {"log-change",
     [] {
       inference::LogSettingsRequest sent;
       (*sent.mutable_settings())["log_verbose_level"].set_uint32_param(3);
       ask(*stub(), &Stub::LogSettings, sent);
     }},
    {"health-check",
     [] {
       using Health = grpc::health::v1::Health::Stub;
       auto asked = health();
       for (const string& name : {string(), string("inference.GRPCInferenceService"), plan.model}) {
         grpc::health::v1::HealthCheckRequest sent;
         sent.set_service(name);
         auto status = ask(*asked, &Health::Check, sent).status();
         check(status == grpc::health::v1::HealthCheckResponse::SERVING, name + ": " + std::to_string(status));
       }
     }},
    {"health-watch",
     [] {
       auto asked = health();
       grpc::health::v1::HealthCheckRequest sent;
       sent.set_service(plan.model);
       ClientContext context;
       auto call = asked->Watch(&context, sent);
       grpc::health::v1::HealthCheckResponse answer;
       check(call->Read(&answer), "no answer");
       check(answer.status() == grpc::health::v1::HealthCheckResponse::SERVING, answer.ShortDebugString());
       context.TryCancel();
       refused(call->Finish(), StatusCode::CANCELLED);
     }},
    {"health-list",
     [] {
       using Health = grpc::health::v1::Health::Stub;
       auto answer = ask(*health(), &Health::List, grpc::health::v1::HealthListRequest());
       auto status = answer.statuses().at(plan.model).status();
       check(status == grpc::health::v1::HealthCheckResponse::SERVING, answer.ShortDebugString());
     }},
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: program PLAN" << std::endl;
    return 2;
  }
  plan = trial::read_plan(arguments[1]);
  trial::run(kFeatures);
  return 0;
}
