-- Queries of lists. The transcoder can't bind `metadata[KEY]=VALUE` to a map, as OpenAI's clients write it, so a query
-- is written anew with what it can bind: every `metadata` and `labels` as a `label_pairs`, every `tags[]` as a `tags`.
-- What it would refuse, skip or read otherwise is refused here, where the parameter can be named.

-- Longer names, or with other characters, are not repeated in an error.
local NAME = "^[%w_.%-%[%] ]+$"
local NAME_BYTES = 96
local MOST_INT32 = 2147483647

local function decoded(text)
  return (text:gsub("%+", " "):gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end))
end

local function encoded(text)
  return (text:gsub("[^%w_.~%-]", function(c)
    return string.format("%%%02X", c:byte())
  end))
end

local function shown(name)
  return #name <= NAME_BYTES and name:find(NAME) and name or nil
end

local function unknown_parameter(name)
  local param = shown(name)
  local text = "Unknown query parameter" .. (param and ": '" .. param .. "'." or ".")
  return envelope(quoted(text), "invalid_request_error", param, "unknown_parameter")
end

local function wrong_parameter(name, text)
  return envelope(quoted("Invalid value for '" .. name .. "': " .. text .. "."), "invalid_request_error", name,
    "invalid_value")
end

local function is_int32(text)
  return text:find("^%-?%d+$") ~= nil and #text <= 11 and math.abs(tonumber(text)) <= MOST_INT32
end

-- The name that the transcoder binds, and the value; nil and an envelope where there is none; nil alone where the
-- parameter counts as absent. `known` has kinds by name.
local function bound(name, value, known)
  local list, key = name:match("^([%w_]+)%[(.*)%]$")
  local field = list or name
  local kind = known[field]
  if kind == "map" then
    if key ~= nil and key ~= "" then
      return "label_pairs", key:gsub("[%%=]", encoded) .. "=" .. value
    elseif key == nil and value == "" then
      return nil -- the Node client's null
    end
    return nil, wrong_parameter(field, "expected " .. field .. "[KEY]=VALUE")
  elseif kind == "list" and (key == nil or key:find("^%d*$")) then
    return field, value
  elseif kind == nil or key ~= nil then
    return nil, unknown_parameter(name)
  elseif kind == "integer" and not is_int32(value) then
    return nil, wrong_parameter(field, "expected an integer")
  end
  return field, value
end

-- The query for the transcoder, or nil and the envelope of what is wrong with this one.
local function rewritten_query(query, known)
  local parameters, seen = {}, {}
  for part in query:gmatch("[^&]+") do
    local name, value = part:match("^([^=]*)=?(.*)$")
    name = decoded(name)
    local field, text = bound(name, decoded(value), known)
    if field == nil and text ~= nil then
      return nil, text
    elseif known[field] ~= "list" and seen[name] then
      return nil, wrong_parameter(shown(name) or name:match("^[%w_]+"), "the parameter is given twice")
    elseif field ~= nil then
      seen[name] = true
      parameters[#parameters + 1] = field .. "=" .. encoded(text)
    end
  end
  return table.concat(parameters, "&")
end
