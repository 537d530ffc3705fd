-- The Lua filter. It stands before the transcoder, and runs on REST routes only.

-- The one public path of both RPCs, and the internal one of streams.
local CHAT = {["/v1/chat/completions"] = true, ["/api/v1/chat/completions"] = true}
local STREAM = "/v1/chat/completions:stream"

-- What the transcoder and gRPC leave in an answer, and what is meant for this filter.
local HIDDEN = {
  "grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-accept-encoding", "grpc-encoding",
  "x-error-type", "x-error-param", "x-error-code", "x-error-status", "x-parley-empty-lists",
  "x-envoy-upstream-service-time", "x-parley-refused",
}

-- Up to this length a request's body is kept until the answer, to find what is wrong with it.
local KEPT_BYTES = 16384

-- Answers the request here. local_reply_config puts its own envelope around it; envoy_on_response takes that off.
local function refuse(handle, text)
  handle:streamInfo():dynamicMetadata():set("parley.request", "refusal", text)
  handle:respond({[":status"] = "400"}, text)
end

-- What the route allows its query to name: a message's fields (filters.py).
local function check_query(handle, headers)
  local path, query = headers:get(":path"):match("^([^?]*)%?(.*)$")
  local message = handle:metadata():get("query")
  if query == nil or message == nil then
    return
  end
  local text, refusal = rewritten_query(query, QUERIES[message])
  if refusal ~= nil then
    refuse(handle, refusal)
  else
    headers:replace(":path", text == "" and path or path .. "?" .. text)
  end
end

-- The transcoder would read a body of GET or DELETE as the message, over what the URL says. An empty object is what
-- some clients send with every request.
local function check_no_body(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  if length > 0 and not (length <= 16 and body:getBytes(0, length):find("^%s*{%s*}%s*$")) then
    refuse(handle, envelope(quoted("Unexpected request body: this method takes none."), "invalid_request_error", nil,
      "invalid_request_body"))
  end
end

-- Waits for the whole body, so headers() has to be asked for anew after it.
local function read_body(handle)
  local body = handle:body()
  local length = body and body:length() or 0
  local text = length > 0 and body:getBytes(0, length) or ""
  if length <= KEPT_BYTES then
    handle:streamInfo():dynamicMetadata():set("parley.request", "body", text)
  end
  return wants_stream(text)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get(":method") ~= "POST" then
    check_query(handle, headers)
    check_no_body(handle)
    return
  end
  local is_chat = CHAT[headers:get(":path")]
  if read_body(handle) and is_chat then
    handle:headers():replace(":path", STREAM)
  end
end

-- What envoy_on_request kept under this name, or nil.
local function kept(handle, name)
  local found = handle:streamInfo():dynamicMetadata():get("parley.request")
  return found and found[name]
end

local function hide(headers)
  for _, name in ipairs(HIDDEN) do
    headers:remove(name)
  end
end

local function replace_body(handle, body, text)
  local length = body:setBytes(text)
  handle:headers():replace("content-length", tostring(length))
end

-- What headers() gave can't be used any more once body() has yielded: everything is read before.
local function answer_failure(handle, headers)
  local failure = {
    status = headers:get(":status"),
    kind = headers:get("x-error-type"),
    param = headers:get("x-error-param"),
    code = headers:get("x-error-code"),
  }
  local status = headers:get("x-error-status")
  if status ~= nil and status:find("^[45]%d%d$") then
    failure.status = status
    headers:replace(":status", status)
  end
  if failure.status == "499" and failure.kind == nil then
    -- gRPC cancels what arrives while the service is shutting down. A client that has left reads nothing.
    failure.status = "503"
    headers:replace(":status", "503")
  end
  hide(headers)
  local body = handle:body()
  if body == nil then
    return -- the answer to HEAD, which a body would run into the next answer
  end
  local text = body:getBytes(0, body:length())
  if text:find('{"error":', 1, true) == 1 then
    -- Envoy's own: local_reply_config has written the envelope.
    text = kept(handle, "refusal") or refused_body(text, kept(handle, "body"))
  else
    handle:headers():replace("content-type", "application/json")
    text = undecodable_body(failure, kept(handle, "body")) or failure_envelope(failure, text)
  end
  if text then
    replace_body(handle, body, text)
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") >= "400" then
    answer_failure(handle, headers)
    return
  end
  local is_stream = headers:get("content-type") == "text/event-stream"
  local has_empty_lists = headers:get("x-parley-empty-lists") ~= nil
  hide(headers)
  if is_stream then
    for chunk in handle:bodyChunks() do
      local text = rewritten(chunk:getBytes(0, chunk:length()))
      if text then
        chunk:setBytes(text)
      end
    end
  elseif has_empty_lists then
    local body = handle:body()
    replace_body(handle, body, with_empty_lists(body:getBytes(0, body:length())))
  end
  local trailers = handle:trailers() -- which HTTP/2 clients would see
  if trailers then
    hide(trailers)
  end
end
