-- Whether a body asks for a stream: by the member `stream` of its outermost object, and by no text or inner object that
-- looks like one. Envoy's json_to_metadata tells the same, but makes a tree of the whole body, which was 41 % of what
-- a request of 100 kB cost Envoy.

local QUOTE, SINGLE_QUOTE, BACKSLASH, OPEN_BRACKET, OPEN_BRACE = 34, 39, 92, 91, 123
local KEY = '"stream"'
-- What is nested more deeply the transcoder refuses.
local DEEPEST = 100

-- The place of the quote that ends the string which begins at `first`; or nil.
local function end_of_string(text, first)
  local at = first
  while true do
    at = text:find('"', at + 1, true)
    if at == nil then
      return nil
    end
    local before = at - 1
    while text:byte(before) == BACKSLASH do
      before = before - 1
    end
    if (at - before) % 2 == 1 then
      return at
    end
  end
end

-- What is no strict JSON at the member itself asks for none, and so do single quotes before it: the service then refuses
-- `stream`, rather than that its answer is of a kind which the transcoder's more lenient reading did not mean. Where
-- there are several, the transcoder refuses all.
local function wants_stream(body)
  local key = body:find(KEY, 1, true)
  local depth, at, wanted = 0, 1, false
  while key do
    at = body:find('["\'%[%]{}]', at)
    local c = at and body:byte(at)
    if c == QUOTE then
      if at == key and depth == 1 and body:find("^%s*:", at + #KEY) then
        wanted = body:find('^%s*:%s*true%s*}', at + #KEY) ~= nil or body:find('^%s*:%s*true%s*,%s*"', at + #KEY) ~= nil
      end
      at = end_of_string(body, at)
      if at ~= nil and at >= key then
        key = body:find(KEY, at, true)
      end
    elseif c == OPEN_BRACE or c == OPEN_BRACKET then
      depth = depth + 1
      if depth > DEEPEST then
        return false
      end
    elseif c == SINGLE_QUOTE then
      return false
    else
      depth = depth - 1
    end
    if at == nil then
      return false
    end
    at = at + 1
  end
  return wanted
end
