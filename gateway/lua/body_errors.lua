-- What the transcoder says of a body that is not the message it should be. Its texts quote pieces of
-- the body, which may be a prompt or a key: only parameter names and fixed words are taken out.

-- Sentences of its JSON parser that say more than "not valid JSON".
local SYNTAX = {
  ["Closing quote expected in string"] = "a string is not closed",
  ["Unexpected end of string"] = "it ends too early",
  ["Expected : between key:value pair"] = "a colon is missing after a key",
  ["Parsing terminated before end of input"] = "something follows the JSON value",
  ["Unable to parse number"] = "a number can't be read",
  ["Number exceeds the range of double"] = "a number is too large",
  ["Encountered non UTF-8 code points"] = "it is not UTF-8",
  ["Message too deep"] = "it is nested too deeply",
}

local EXPECTED = {
  TYPE_STRING = "a string", TYPE_BOOL = "a boolean", TYPE_DOUBLE = "a number", TYPE_FLOAT = "a number",
  TYPE_INT32 = "an integer", TYPE_INT64 = "an integer", TYPE_UINT32 = "an integer", TYPE_UINT64 = "an integer",
}

local function invalid(param, text)
  local where = param and " for '" .. param .. "'" or ""
  return envelope(quoted("Invalid value" .. where .. ": " .. text .. "."), "invalid_request_error", param,
    "invalid_request_body")
end

-- The path of a field of the message at `parent`; the transcoder may have named the field already.
local function child(parent, name)
  if parent == "" or parent == name or parent:sub(-#name - 1) == "." .. name then
    return parent == "" and name or parent
  end
  return parent .. "." .. name
end

-- Entries of a map are told as a list of key and value.
local function map_of(path)
  return path:match("^([%w_]+)%[%d+%]%.value$") or path
end

-- The first of the request's single-valued parameters that has an array; nil where that is not it.
-- The transcoder does not name it. SINGULAR comes from the descriptors (filters.py).
local function parameter_with_array(body)
  local depth, at = 0, 1
  while true do
    at = body:find('["%[%]{}]', at)
    if at == nil then
      return nil
    end
    local c = body:sub(at, at)
    if c == '"' then
      local text = raw_string(body, at)
      if text == nil then
        return nil
      end
      at = at + #text
      local name = text:sub(2, -2)
      if depth == 1 and SINGULAR[name] and body:find("^%s*:%s*%[", at) then
        return name
      end
    else
      depth = depth + ((c == "{" or c == "[") and 1 or -1)
      at = at + 1
    end
  end
end

-- The first of the request's maps of strings that has an object among its values; nil where there is none. What the
-- transcoder makes of it the service can't decode. STRING_MAPS comes from the descriptors.
local function map_with_object(body)
  local depth, at, name = 0, 1, nil
  while true do
    at = body:find('["%[%]{}]', at)
    if at == nil then
      return nil
    end
    local c = body:sub(at, at)
    if c == '"' then
      local text = raw_string(body, at)
      if text == nil then
        return nil
      end
      at = at + #text
      if depth == 1 and body:find("^%s*:", at) then
        name = text:sub(2, -2)
      end
    else
      if c == "{" and depth == 2 and STRING_MAPS[name] then
        return name
      end
      depth = depth + ((c == "{" or c == "[") and 1 or -1)
      at = at + 1
    end
  end
end

-- The envelope of a body that the service could not decode, where the reason can be found; else nil.
local function undecodable_body(failure, request)
  local name = failure.code == "invalid_request_body" and request and map_with_object(request)
  return name and invalid(name, "an object is not expected as a value") or nil
end

-- "path: invalid value V for type T", where V is the body's and T a type, a field or "oneof".
local function wrong_value(path, rest, request)
  local twice = rest:match("^oneof field '[%w_]+' is already set%. Cannot set '([%w_]+)' for type oneof$")
  if twice then
    return invalid(child(path, twice), "the parameter is given twice")
  end
  local field = rest:match("^Starting an object on a scalar field for type ([%w_]+)$")
  if field then
    return invalid(child(path, field), "an object is not expected here")
  end
  local kind = EXPECTED[rest:match(" for type ([%w_]+)$")]
  if kind then
    path = path:gsub("%[%d+%]$", "") -- in a list of scalars every index is told as 0
  end
  -- An array in place of a map is told without a path.
  local param = path ~= "" and map_of(path) or parameter_with_array(request)
  return invalid(param, "expected " .. (kind or "an object"))
end

-- The envelope of an unreadable body. `body` is the one that local_reply_config wrote, `request` the
-- request's where it is short. Nil where the refusal is about something else.
local function refused_body(body, request)
  if not body:find('"code":"invalid_request_body"', 1, true) then
    return nil
  end
  local _, last = body:find('"message":"', 1, true)
  local message = last and raw_string(body, last) or '""'
  if message == '""' or message == '"Bad Request"' then
    -- Envoy's HTTP parser: nothing has looked at the body yet.
    return envelope(quoted("The request is not valid HTTP."), "invalid_request_error", nil, "invalid_request")
  end
  local path, text = message:match("^\"([%w_%.%[%]]*): (.*)\"$")
  if path ~= nil and #path <= 256 then
    local value = text:match("^invalid value (.*)$")
    if value then
      return wrong_value(path, value, request or "")
    elseif text:find("^Root element must be a message") then
      return invalid(nil, "the request body has to be a JSON object")
    elseif text:find("^Proto field is not repeating") then
      local param = path ~= "" and path or parameter_with_array(request or "")
      return invalid(param, "an array is given where a single value is expected")
    elseif text:find("^Proto fields must have a name") then
      return invalid(map_of(path), "an array is not expected here")
    elseif text:find("^Repeated map key") then
      return invalid(path:gsub("%[%d+%]$", ""), "a key is given twice")
    end
  end
  local of_url = message:match('^"The binding value .- of the field ([%w_]+) is conflicting with ')
  if of_url then
    return invalid(of_url, "the URL says otherwise")
  end
  local why = SYNTAX[message:match('^"([%w :-]+)')]
  return envelope(quoted("The request body is not valid JSON" .. (why and ": " .. why or "") .. "."),
    "invalid_request_error", nil, "invalid_request_body")
end
