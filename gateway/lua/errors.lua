-- Errors in OpenAI's form: {"error":{"message","type","param","code"}}, all four always.

-- By HTTP status: type, code and message where the service gave none, because gRPC itself or
-- Envoy failed the call. Their own texts name hosts and sockets, so they are not shown.
local BY_STATUS = {
  ["400"] = {"invalid_request_error", "invalid_request", "The request can't be read."},
  ["401"] = {"invalid_request_error", "invalid_api_key", "The API key is missing or wrong."},
  ["403"] = {"invalid_request_error", "permission_denied", "The request is not permitted."},
  ["404"] = {"invalid_request_error", "not_found", "Not found."},
  ["408"] = {"invalid_request_error", "request_timeout", "The request did not arrive in time."},
  ["409"] = {"invalid_request_error", "conflict", "The request conflicts with another one."},
  ["413"] = {"invalid_request_error", "request_too_large", "The request is too large."},
  ["429"] = {"rate_limit_error", "rate_limit_exceeded", "Too many requests; try again later."},
  ["501"] = {"server_error", "not_implemented", "The service does not know this method."},
  ["502"] = {"server_error", "bad_gateway", "The service's answer can't be read."},
  ["503"] = {"server_error", "service_unavailable", "The service is not available; try again later."},
  ["504"] = {"server_error", "timeout", "The service did not answer in time."},
}
local OTHER_4XX = {"invalid_request_error", "invalid_request", "The request can't be answered."}
local OTHER_5XX = {"server_error", "internal_error", "The service failed to answer the request."}

-- A Lua string as JSON, or null. Header values are the only thing that comes here.
local function quoted(value)
  if value == nil or value == "" then
    return "null"
  end
  local escaped = value:gsub('[%c"\\\128-\255]', function(c)
    return string.format("\\u%04x", c:byte())
  end)
  return '"' .. escaped .. '"'
end

local function envelope(message, kind, param, code)
  return '{"error":{"message":' .. message .. ',"type":' .. quoted(kind) ..
    ',"param":' .. quoted(param) .. ',"code":' .. quoted(code) .. "}}"
end

-- The JSON string that begins at the quote at `first`, quotes and escapes as they are; or nil.
local function raw_string(text, first)
  local at = first + 1
  while true do
    at = text:find('["\\]', at)
    if at == nil then
      return nil
    end
    if text:byte(at) == 34 then
      return text:sub(first, at)
    end
    at = at + 2
  end
end

-- The transcoder's {"code":3,"message":"…","details":[…]}: the message, as raw JSON; or nil.
local function status_message(body)
  local _, last = body:find('^{"code":%d+,"message":"')
  return last and raw_string(body, last)
end

-- The envelope of a call that the service, gRPC or Envoy behind the transcoder failed.
local function failure_envelope(failure, body)
  local defaults = BY_STATUS[failure.status]
  if defaults == nil then
    defaults = failure.status < "500" and OTHER_4XX or OTHER_5XX
  end
  if failure.kind == nil then
    return envelope(quoted(defaults[3]), defaults[1], nil, defaults[2])
  end
  return envelope(status_message(body) or quoted(defaults[3]), failure.kind, failure.param, failure.code)
end
