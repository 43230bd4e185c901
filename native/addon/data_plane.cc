#include "addon/data_plane.h"

#include "addon/event_record.h"
#include "addon/values.h"

namespace culvert::addon {
namespace {

constexpr uint16_t kEncrNull = 11;  // IANA transform type 1

Direction read_direction(const Napi::CallbackInfo& info, size_t at, Problem& problem) {
  const Napi::Value value = info[at];
  const std::string text = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (text != "inbound" && text != "outbound") problem.note("direction is neither inbound nor outbound");
  return text == "outbound" ? Direction::outbound : Direction::inbound;
}

uint32_t read_number(const Napi::CallbackInfo& info, size_t at, const char* name, uint32_t maximum, Problem& problem) {
  const Napi::Value value = info[at];
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (number >= 0 && number <= maximum && number == static_cast<uint32_t>(number)) return static_cast<uint32_t>(number);
  problem.note(std::string(name) + " is not an integer from 0 to " + std::to_string(maximum));
  return 0;
}

net::Endpoint read_endpoint(const Napi::CallbackInfo& info, size_t at, const char* name, Problem& problem) {
  const IpAddress address = read_address(info[at], name, problem);
  return {address, static_cast<uint16_t>(read_number(info, at + 1, name, 65535, problem))};
}

engine::DfPolicy read_df_policy(Fields& fields, Problem& problem) {
  const std::string text = fields.text("dontFragment");
  if (text == "copy") return engine::DfPolicy::copy;
  if (text == "set") return engine::DfPolicy::set;
  if (text != "clear") problem.note("sa.dontFragment is none of clear, copy, set");
  return engine::DfPolicy::clear;
}

engine::SaAddresses read_sa_addresses(Fields& fields) {
  return {.local = fields.address("local"),
          .remote = fields.address("remote"),
          .udp = fields.boolean("udp"),
          .local_port = fields.u16("localPort"),
          .remote_port = fields.u16("remotePort"),
          .path_mtu = fields.u16("pathMtu")};
}

route::Prefix read_prefix(Fields& fields, const char* address, const char* length) {
  return {fields.address(address), static_cast<uint8_t>(fields.integer(length, 0, 128))};
}

std::vector<engine::ConnectionPlan> read_connections(Fields& plan, Problem& problem) {
  std::vector<engine::ConnectionPlan> connections;
  for (const Napi::Value& value : plan.list("connections")) {
    Fields row(value, "connections[]", problem);
    engine::ConnectionPlan connection{.connection = row.u16("connection"), .outbound = {}};
    for (const Napi::Value& sa_value : row.list("outbound")) {
      Fields sa(sa_value, "outbound[]", problem);
      connection.outbound.push_back({sa.u32("spi"), sa.address("remote")});
    }
    connections.push_back(std::move(connection));
  }
  return connections;
}

Napi::Value totals_to_js(Napi::Env env, const esp::SaTotals& totals) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("packets", to_js(env, totals.packets));
  object.Set("bytes", to_js(env, totals.bytes));
  object.Set("sequence", to_js(env, totals.sequence));
  object.Set("lastUsedMs", to_js(env, totals.last_used_ms));
  return object;
}

Napi::Value optional_totals(Napi::Env env, const std::optional<esp::SaTotals>& totals) {
  return totals ? totals_to_js(env, *totals) : env.Undefined();
}

const char* direction_name(Direction direction) { return direction == Direction::inbound ? "inbound" : "outbound"; }

}  // namespace

Napi::Function DataPlane::define(Napi::Env env) {
  return DefineClass(env, "DataPlane",
                     {
                         InstanceMethod("installSa", &DataPlane::install_sa),
                         InstanceMethod("removeSa", &DataPlane::remove_sa),
                         InstanceMethod("saTotals", &DataPlane::sa_totals),
                         InstanceMethod("publish", &DataPlane::publish),
                         InstanceMethod("publishConnections", &DataPlane::publish_connections),
                         InstanceMethod("sendIke", &DataPlane::send_ike),
                         InstanceMethod("sendKeepalive", &DataPlane::send_keepalive),
                         InstanceMethod("sendProbe", &DataPlane::send_probe),
                         InstanceMethod("updateSa", &DataPlane::update_sa),
                         InstanceMethod("readCounters", &DataPlane::read_counters),
                         InstanceMethod("listSas", &DataPlane::list_sas),
                         InstanceMethod("describe", &DataPlane::describe),
                         InstanceMethod("close", &DataPlane::close),
                     });
}

// new DataPlane(options, onEvents)
DataPlane::DataPlane(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DataPlane>(info) {
  const Napi::Env env = info.Env();
  Problem problem;
  Fields fields(info[0], "options", problem);
  engine::EngineOptions options;
  options.tun_name = fields.text("tunName");
  options.tun_mtu = static_cast<uint32_t>(fields.integer("tunMtu", 68, 65535));
  options.workers = static_cast<unsigned>(fields.integer("workers", 1, engine::kMaxWorkers));
  for (const Napi::Value& address : fields.list("addresses"))
    options.addresses.push_back(read_address(address, "addresses", problem));
  options.ike_port = fields.u16("ikePort");
  options.nat_port = fields.u16("natPort");
  options.mark = fields.u32("mark");
  options.path_mtu = static_cast<uint32_t>(fields.integer("pathMtu", 576, 65535));
  options.busy_poll_us = static_cast<uint32_t>(fields.integer("busyPollMicroseconds", 0, engine::kMaxBusyPollUs));
  options.pin_workers = fields.boolean("pinWorkers");
  for (const Napi::Value& fd : fields.list("ikeSockets")) {
    if (!fd.IsNumber())
      problem.note("ikeSockets holds something that is no file descriptor");
    else
      options.ike_sockets.push_back(fd.As<Napi::Number>().Int32Value());
  }
  const std::string backend = fields.text("backend");
  if (backend == "ipsec-mb")
    backend_ = crypto::Backend::ipsec_mb;
  else if (backend == "portable")
    backend_ = crypto::Backend::portable;
  else if (backend != "auto")
    problem.note("options.backend is none of auto, ipsec-mb, portable");
  allow_bench_null_ = fields.boolean("allowBenchNull");
  if (!info[1].IsFunction()) problem.note("onEvents is not a function");
  if (problem.throw_if_found(env)) return;

  pump_ = EventPump::create(env, this, [](void* owner, napi_env e) { static_cast<DataPlane*>(owner)->deliver(e); });
  if (pump_ == nullptr) return;
  // Hooks run in reverse order: when the environment ends, the workers do so before the pump that they call.
  napi_add_env_cleanup_hook(env, end_with_environment, this);
  auto engine = engine::Engine::open(options, pump_->notifier());
  if (!engine) {
    shut_down();
    throw_error(env, engine.error());
    return;
  }
  engine_ = std::move(engine).value();
  on_events_ = Napi::Persistent(info[1].As<Napi::Function>());
}

DataPlane::~DataPlane() { shut_down(); }

void DataPlane::end_with_environment(void* self) { static_cast<DataPlane*>(self)->shut_down(); }

void DataPlane::shut_down() {
  engine_.reset();  // joins the workers: nobody notifies any more
  if (pump_ == nullptr) return;
  pump_->stop();
  pump_ = nullptr;
  napi_remove_env_cleanup_hook(Env(), end_with_environment, this);
  on_events_.Reset();
}

Napi::Value DataPlane::close(const Napi::CallbackInfo& info) {
  shut_down();
  return info.Env().Undefined();
}

bool DataPlane::is_open(Napi::Env env) {
  if (engine_ != nullptr) return true;
  throw_error(env, "EBADF: the data plane is closed");
  return false;
}

Napi::Value DataPlane::install_sa(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  Fields fields(info[0], "sa", problem);
  const std::string direction = fields.text("direction");
  if (direction != "inbound" && direction != "outbound") problem.note("sa.direction is neither inbound nor outbound");

  const std::vector<TrafficSelector> local = read_selectors(fields, "localSelectors", problem);
  const std::vector<TrafficSelector> remote = read_selectors(fields, "remoteSelectors", problem);
  esp::SaParams params;
  params.spi = fields.u32("spi");
  params.connection = fields.u16("connection");
  params.encr = fields.u16("encr");
  params.encr_key_bits = fields.u16("encrKeyBits");
  params.integ = fields.u16("integ");
  params.encr_key = fields.bytes("encrKey");
  params.integ_key = fields.bytes("integKey");
  params.esn = fields.boolean("esn");
  params.non_first_fragments = fields.boolean("nonFirstFragments");
  params.limits = {.soft_bytes = fields.count("softBytes"),
                   .hard_bytes = fields.count("hardBytes"),
                   .soft_packets = fields.count("softPackets"),
                   .hard_packets = fields.count("hardPackets")};
  params.local_selectors = local;
  params.remote_selectors = remote;
  params.backend = backend_;
  params.allow_unprotected_for_benchmark = allow_bench_null_ && params.encr == kEncrNull && params.integ == 0;
  const engine::SaAddresses addresses = read_sa_addresses(fields);
  const uint32_t replay_window = fields.u32("replayWindow");
  const engine::DfPolicy df = read_df_policy(fields, problem);
  if (problem.throw_if_found(env)) return env.Undefined();

  Result<Unit> installed = Unit{};
  if (direction == "inbound") {
    esp::InboundSa::Params inbound;
    static_cast<esp::SaParams&>(inbound) = params;
    inbound.replay_window = replay_window;
    installed = engine_->install(inbound, addresses);
  } else {
    esp::OutboundSa::Params outbound;
    static_cast<esp::SaParams&>(outbound) = params;
    installed = engine_->install(outbound, addresses, df);
  }
  if (!installed) throw_error(env, installed.error());
  return env.Undefined();
}

// removeSa(direction, spi, remote) → totals | undefined
Napi::Value DataPlane::remove_sa(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const Direction direction = read_direction(info, 0, problem);
  const uint32_t spi = read_number(info, 1, "spi", 0xffffffff, problem);
  const IpAddress remote = read_address(info[2], "remote", problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  return optional_totals(env, engine_->remove(direction, spi, remote));
}

// saTotals(direction, spi, remote) → totals | undefined
Napi::Value DataPlane::sa_totals(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const Direction direction = read_direction(info, 0, problem);
  const uint32_t spi = read_number(info, 1, "spi", 0xffffffff, problem);
  const IpAddress remote = read_address(info[2], "remote", problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  return optional_totals(env, engine_->totals(direction, spi, remote));
}

// publish({policyRoutes, destinationRoutes, connections})
Napi::Value DataPlane::publish(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  Fields plan(info[0], "plan", problem);
  std::vector<route::PolicyRoute> policy;
  for (const Napi::Value& value : plan.list("policyRoutes")) {
    Fields rule(value, "policyRoutes[]", problem);
    policy.push_back({.source = read_prefix(rule, "source", "sourceLength"),
                      .destination = read_prefix(rule, "destination", "destinationLength"),
                      .connection = rule.u16("connection")});
  }
  std::vector<route::DestinationRoute> destinations;
  for (const Napi::Value& value : plan.list("destinationRoutes")) {
    Fields row(value, "destinationRoutes[]", problem);
    destinations.push_back(
        {.destination = read_prefix(row, "destination", "destinationLength"), .connection = row.u16("connection")});
  }
  std::vector<engine::ConnectionPlan> connections = read_connections(plan, problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  auto routes = route::RouteTable::create(policy, destinations);
  if (!routes) {
    throw_error(env, routes.error());
    return env.Undefined();
  }
  engine_->publish(std::move(routes).value(), std::move(connections));
  return env.Undefined();
}

// publishConnections({connections}): only these differ from what was published last
Napi::Value DataPlane::publish_connections(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  Fields change(info[0], "change", problem);
  std::vector<engine::ConnectionPlan> connections = read_connections(change, problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  engine_->publish(std::move(connections));
  return env.Undefined();
}

// sendIke(localAddress, localPort, remoteAddress, remotePort, message, unfragmented)
Napi::Value DataPlane::send_ike(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const net::Endpoint local = read_endpoint(info, 0, "local", problem);
  const net::Endpoint remote = read_endpoint(info, 2, "remote", problem);
  const std::span<const uint8_t> message = read_bytes(info[4], "message", problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  const bool unfragmented = info[5].ToBoolean();
  const auto sent =
      unfragmented ? engine_->send_unfragmented(local, remote, message) : engine_->send_ike(local, remote, message);
  if (!sent) throw_error(env, sent.error());
  return env.Undefined();
}

// sendKeepalive(localAddress, localPort, remoteAddress, remotePort)
Napi::Value DataPlane::send_keepalive(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const net::Endpoint local = read_endpoint(info, 0, "local", problem);
  const net::Endpoint remote = read_endpoint(info, 2, "remote", problem);
  if (problem.throw_if_found(env)) return env.Undefined();
  if (auto sent = engine_->send_keepalive(local, remote); !sent) throw_error(env, sent.error());
  return env.Undefined();
}

// sendProbe(connection, source, destination, id, sequence)
Napi::Value DataPlane::send_probe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const auto connection = static_cast<uint16_t>(read_number(info, 0, "connection", 65535, problem));
  const IpAddress source = read_address(info[1], "source", problem);
  const IpAddress destination = read_address(info[2], "destination", problem);
  const auto id = static_cast<uint16_t>(read_number(info, 3, "id", 65535, problem));
  const auto sequence = static_cast<uint16_t>(read_number(info, 4, "sequence", 65535, problem));
  if (problem.throw_if_found(env)) return env.Undefined();
  if (auto sent = engine_->send_probe(connection, source, destination, id, sequence); !sent)
    throw_error(env, sent.error());
  return env.Undefined();
}

// updateSa(direction, spi, remote, {local, remote, udp, localPort, remotePort}) → boolean
Napi::Value DataPlane::update_sa(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  Problem problem;
  const Direction direction = read_direction(info, 0, problem);
  const uint32_t spi = read_number(info, 1, "spi", 0xffffffff, problem);
  const IpAddress remote = read_address(info[2], "remote", problem);
  Fields fields(info[3], "path", problem);
  const engine::SaAddresses addresses = read_sa_addresses(fields);
  if (problem.throw_if_found(env)) return env.Undefined();
  const auto updated = engine_->update(direction, spi, remote, addresses);
  if (!updated) {
    throw_error(env, updated.error());
    return env.Undefined();
  }
  return Napi::Boolean::New(env, updated.value());
}

// readCounters(into: BigUint64Array) → workers × (counters, then drops)
Napi::Value DataPlane::read_counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array) {
    Napi::TypeError::New(env, "into is not a BigUint64Array").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  auto array = info[0].As<Napi::BigUint64Array>();
  engine_->read_counters({array.Data(), array.ElementLength()});
  return env.Undefined();
}

Napi::Value DataPlane::list_sas(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const std::vector<engine::SaView> views = engine_->list_sas();
  Napi::Array list = Napi::Array::New(env, views.size());
  for (uint32_t i = 0; i < views.size(); i++) {
    const engine::SaView& view = views[i];
    Napi::Object object = Napi::Object::New(env);
    object.Set("direction", direction_name(view.direction));
    object.Set("spi", to_js(env, uint64_t{view.spi}));
    object.Set("connection", to_js(env, uint64_t{view.connection}));
    object.Set("local", to_js(env, view.addresses.local));
    object.Set("remote", to_js(env, view.addresses.remote));
    object.Set("udp", Napi::Boolean::New(env, view.addresses.udp));
    object.Set("localPort", to_js(env, uint64_t{view.addresses.local_port}));
    object.Set("remotePort", to_js(env, uint64_t{view.addresses.remote_port}));
    object.Set("totals", totals_to_js(env, view.totals));
    Napi::Object drops = Napi::Object::New(env);
    for (size_t d = 0; d < kDropCount; d++) {
      if (view.drops[d] != 0) drops.Set(std::string(kDropNames[d]), to_js(env, view.drops[d]));
    }
    object.Set("drops", drops);
    list.Set(i, object);
  }
  return list;
}

// What was opened and what the kernel granted.
Napi::Value DataPlane::describe(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!is_open(env)) return env.Undefined();
  const engine::Capabilities capabilities = engine_->capabilities();
  Napi::Object object = Napi::Object::New(env);
  object.Set("tunName", to_js(env, std::string_view(engine_->tun().name)));
  object.Set("tunIndex", to_js(env, uint64_t{engine_->tun().index}));
  object.Set("workers", to_js(env, uint64_t{engine_->workers()}));
  object.Set("crypto", to_js(env, std::string_view(capabilities.crypto)));
  object.Set("tunChecksum", Napi::Boolean::New(env, capabilities.tun.checksum));
  object.Set("tunTcp", Napi::Boolean::New(env, capabilities.tun.tcp));
  object.Set("tunUdp", Napi::Boolean::New(env, capabilities.tun.udp));
  object.Set("udpSendRuns", Napi::Boolean::New(env, capabilities.udp_send_runs));
  object.Set("udpReceiveRuns", Napi::Boolean::New(env, capabilities.udp_receive_runs));
  Napi::Array notices = Napi::Array::New(env);
  for (uint32_t i = 0; i < capabilities.notices.size(); i++)
    notices.Set(i, to_js(env, std::string_view(capabilities.notices[i])));
  object.Set("notices", notices);
  return object;
}

// Everything that waits, in one call.
void DataPlane::deliver(Napi::Env env) {
  if (engine_ == nullptr) return;
  Napi::HandleScope scope(env);
  records_.clear();
  engine_->drain_events(
      [this](const engine::Event& event, std::span<const uint8_t> data) { append_record(event, data, records_); });
  if (records_.empty()) return;
  // A copy of JavaScript's own: datagrams are views of it, and the handler may close the data plane.
  auto batch = Napi::Uint8Array::New(env, records_.size());
  std::memcpy(batch.Data(), records_.data(), records_.size());
  on_events_.Call({batch});
}

}  // namespace culvert::addon
