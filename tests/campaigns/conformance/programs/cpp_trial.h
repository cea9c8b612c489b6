// What the program in C++ has from its plan, and the lines that it prints.

#pragma once

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/grpcpp.h>

#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace trial {

using grpc::Status;
using grpc::StatusCode;
using std::string;
using std::vector;

struct Row {
  vector<float> points;  // (sequence, features), or tokens
  vector<float> logits;
};

struct Plan {
  string plain, explicit_control, tls, authorities, model, text;
  vector<Row> walks, rows;
};

// The status of a call whose failure is its outcome.
struct Refused {
  Status status;
};

inline void check(bool holds, const string& words) {
  if (!holds) throw std::runtime_error(words);
}

inline void check(const Status& status) {
  if (!status.ok()) throw Refused{status};
}

inline void refused(const Status& status, StatusCode code, const string& word = "") {
  check(status.error_code() == code, "status " + std::to_string(status.error_code()) + ": " + status.error_message());
  check(status.error_message().find(word) != string::npos, status.error_message() + ": no " + word);
}

struct Feature {
  string name;
  std::function<void()> attempt;
};

inline string read_file(const string& path) {
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  check(file.good(), "cannot read " + path);
  return content.str();
}

inline const google::protobuf::Value& at(const google::protobuf::Struct& object, const string& name) {
  return object.fields().at(name);
}

// All numbers of a value, whose lists may have lists.
inline void append_numbers(const google::protobuf::Value& value, vector<float>& numbers) {
  if (value.has_number_value()) numbers.push_back(value.number_value());
  for (const auto& inner : value.list_value().values()) append_numbers(inner, numbers);
}

inline vector<Row> read_rows(const google::protobuf::Struct& model, const string& inputs) {
  vector<Row> rows(at(model, inputs).list_value().values_size());
  for (size_t row = 0; row < rows.size(); ++row) {
    append_numbers(at(model, inputs).list_value().values(row), rows[row].points);
    append_numbers(at(model, "logits").list_value().values(row), rows[row].logits);
  }
  return rows;
}

inline Plan read_plan(const string& path) {
  google::protobuf::Struct content;
  check(google::protobuf::util::JsonStringToMessage(read_file(path), &content).ok(), path + " is not JSON");
  const auto& servers = at(content, "servers").struct_value();
  const auto& classifier = at(content, "classifier").struct_value();
  const auto& text = at(content, "text").struct_value();
  return {at(servers, "plain").string_value(),
          at(servers, "explicit").string_value(),
          at(servers, "tls").string_value(),
          read_file(at(content, "ca").string_value()),
          at(classifier, "model").string_value(),
          at(text, "model").string_value(),
          read_rows(classifier, "walks"),
          read_rows(text, "rows")};
}

inline string quoted(const string& text) {
  string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c == '\n' ? ' ' : c;
  }
  return result + "\"";
}

inline void report(const string& feature, const string& outcome, const string& status, const string& words) {
  std::cout << "{\"feature\": " << quoted(feature) << ", \"outcome\": " << quoted(outcome)
            << ", \"status\": " << quoted(status) << ", \"words\": " << quoted(words) << "}" << std::endl;
}

inline string name_of(StatusCode code) {
  static const char* kNames[] = {"OK",
                                 "CANCELLED",
                                 "UNKNOWN",
                                 "INVALID_ARGUMENT",
                                 "DEADLINE_EXCEEDED",
                                 "NOT_FOUND",
                                 "ALREADY_EXISTS",
                                 "PERMISSION_DENIED",
                                 "RESOURCE_EXHAUSTED",
                                 "FAILED_PRECONDITION",
                                 "ABORTED",
                                 "OUT_OF_RANGE",
                                 "UNIMPLEMENTED",
                                 "INTERNAL",
                                 "UNAVAILABLE",
                                 "DATA_LOSS",
                                 "UNAUTHENTICATED"};
  return kNames[code];
}

// Try all features, and print what came of them.
inline void run(const vector<Feature>& features) {
  for (const Feature& feature : features) {
    try {
      feature.attempt();
      report(feature.name, "works", "", "");
    } catch (const Refused& refusal) {
      report(feature.name, "refused", name_of(refusal.status.error_code()), refusal.status.error_message());
    } catch (const std::exception& error) {
      report(feature.name, "failed", "", error.what());
    }
  }
}

}  // namespace trial
